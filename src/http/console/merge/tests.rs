use proptest::prelude::*;

use super::*;

type Source = Vec<ListRow<&'static str>>;

fn id(number: u128) -> RecordId {
    RecordId::new(uuid::Uuid::from_u128(number))
}

fn stored(number: u128, micros: i64) -> ListRow<&'static str> {
    let created_at = Timestamp::from_micros(micros).unwrap();
    ListRow { id: id(number), place: RowPlace::Stored(Cursor { created_at, id: id(number) }), value: "stored" }
}

fn difys(number: u128, second: i64) -> ListRow<&'static str> {
    ListRow { id: id(number), place: RowPlace::Second(second), value: "dify" }
}

fn ids(rows: &[ListRow<&'static str>]) -> Vec<u128> {
    rows.iter().map(|row| row.id.uuid().as_u128()).collect()
}

#[test]
fn both_sources_in_one_order_each_row_once() {
    let own = vec![stored(9, 5_000_000), stored(7, 3_400_000), stored(6, 3_100_000)];
    let theirs = vec![difys(8, 4), difys(5, 3), ListRow { value: "dify", ..stored(7, 3_400_000) }];
    let rows = merged(None, own, theirs, |_, dify| dify);
    assert_eq!(ids(&rows), [9, 8, 5, 7, 6]);
    assert_eq!(rows.iter().map(|row| row.value).collect::<Vec<_>>(), ["stored", "dify", "dify", "dify", "stored"]);
}

#[test]
fn what_stands_before_the_start_is_left_out() {
    let start = stored(7, 3_400_000).place;
    let theirs = vec![difys(8, 4), difys(5, 3), difys(4, 2), stored(3, 3_500_000), stored(2, 3_300_000)];
    assert_eq!(ids(&merged(Some(start), vec![], theirs, |own, _| own)), [2, 4]);
    let theirs = vec![difys(5, 3), difys(4, 2), stored(2, 3_300_000)];
    assert_eq!(ids(&merged(Some(RowPlace::Second(3)), vec![], theirs, |own, _| own)), [5, 2, 4]);
}

/// A row of the world: where it is, and when it was made. Instants are few, so that seconds are shared.
#[derive(Debug, Clone)]
struct Made {
    number: u128,
    micros: i64,
    in_store: bool,
    in_dify: bool,
}

/// Rows of both sources. What only Dify has is alone in its microsecond: Dify itself loses rows that share one.
fn worlds() -> impl Strategy<Value = Vec<Made>> {
    prop::collection::vec((0..8i64, 0..4i64, 0..3u8), 0..40).prop_map(|rows| {
        let made = rows.into_iter().enumerate().map(|(number, (second, part, place))| Made {
            number: number as u128 + 1,
            micros: second * 1_000_000
                + if place == 2 { 500_000 + i64::try_from(number).unwrap() } else { part * 100_000 },
            in_store: place != 2,
            in_dify: place != 0,
        });
        made.collect()
    })
}

/// Returns the store's page behind a place, as the port answers it.
fn own_page(world: &[Made], after: Option<Cursor>, limit: usize) -> Source {
    let mut rows: Vec<_> =
        world.iter().filter(|made| made.in_store).map(|made| stored(made.number, made.micros)).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(cursor(row)));
    rows.into_iter().filter(|row| after.is_none_or(|after| cursor(row) < after)).take(limit).collect()
}

fn cursor(row: &ListRow<&'static str>) -> Cursor {
    match row.place {
        RowPlace::Stored(cursor) => cursor,
        RowPlace::Second(_) => unreachable!("the store knows the instant"),
    }
}

/// Dify's list behind one of its own rows, or from the start, with the store's places for what it knows.
fn difys_page(world: &[Made], after: Option<u128>) -> Source {
    let mut made: Vec<_> = world.iter().filter(|made| made.in_dify).collect();
    made.sort_by_key(|made| std::cmp::Reverse((made.micros, made.number)));
    let skip = after.map_or(0, |after| made.iter().position(|made| made.number == after).map_or(0, |at| at + 1));
    let row = |made: &&Made| {
        if made.in_store {
            ListRow { value: "dify", ..stored(made.number, made.micros) }
        } else {
            difys(made.number, made.micros / 1_000_000)
        }
    };
    made[skip..].iter().map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Page by page, whatever the size, every row of both sources comes once, newest second first.
    #[test]
    fn walking_pages_skips_and_repeats_nothing(world in worlds(), limit in 1..7usize) {
        let (mut seen, mut start, mut last) = (Vec::new(), None, None);
        loop {
            let known = last.filter(|last| world.iter().any(|made| made.number == *last && made.in_dify));
            let own = own_page(&world, start.and_then(RowPlace::cursor), limit + 1);
            let rows = merged(start, own, difys_page(&world, known), |_, dify| dify);
            prop_assert!(seen.len() <= world.len(), "it never ends: {seen:?}");
            let Some(end) = rows.iter().take(limit).next_back() else { break };
            (start, last) = (Some(end.place), Some(end.id.uuid().as_u128()));
            seen.extend(rows.iter().take(limit).map(|row| (row.id.uuid().as_u128(), row.place.second())));
        }
        let mut found: Vec<_> = seen.iter().map(|(number, _)| *number).collect();
        prop_assert!(seen.windows(2).all(|pair| pair[0].1 >= pair[1].1), "out of order: {seen:?}");
        found.sort_unstable();
        let mut all: Vec<_> = world.iter().filter(|made| made.in_store || made.in_dify).map(|made| made.number).collect();
        all.sort_unstable();
        prop_assert_eq!(found, all);
    }

    /// A page by its offset is that part of the whole list of both.
    #[test]
    fn a_page_by_offset_is_a_part_of_the_whole(world in worlds(), offset in 0..45u64, limit in 1..10usize) {
        let everything = own_page(&world, None, usize::MAX);
        let extra: Source =
            difys_page(&world, None).into_iter().filter(|row| matches!(row.place, RowPlace::Second(_))).collect();
        let whole = merged(None, everything.clone(), extra.clone(), |own, _| own);
        let begin = offset.saturating_sub(extra.len() as u64);
        let window: Source = everything.into_iter().skip(usize::try_from(begin).unwrap()).take(limit + extra.len()).collect();
        let page = spliced(begin, window, extra, offset, limit);
        let expected: Vec<_> = whole.into_iter().skip(usize::try_from(offset).unwrap()).take(limit).collect();
        prop_assert_eq!(ids(&page), ids(&expected));
    }
}
