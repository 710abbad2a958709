//! Charts as SVG, drawn here: bars over time, stacked by status. Each has its numbers in a table behind.

use std::fmt::Write as _;

use chrono_tz::Tz;
use maud::{Markup, html};

use super::format::{class, count, instant};
use super::i18n::PageTexts;
use super::state::AddressState;
use crate::domain::Timestamp;
use crate::domain::query::{HistogramBucket, TimeRange};

/// Widths of a bar, in seconds.
const WIDTHS: [u32; 12] = [60, 120, 300, 600, 1200, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, WEEK];
const WEEK: u32 = 7 * 86_400;
/// Bars at most, but for one at the edge.
const MOST: i64 = 72;
/// What is drawn at the bottom of a bar first: what failed stands on the ground, where lengths compare best.
const ORDER: [&str; 9] =
    ["failed", "exception", "partial-succeeded", "stopped", "retry", "paused", "running", "succeeded", "pending"];

/// Returns the width of a bar for a span; a span without a beginning gets days.
pub(super) fn width(created: TimeRange, now: Timestamp) -> u32 {
    let Some(from) = created.from else { return 86_400 };
    let end = created.until.map_or(now, |until| until.min(now)).micros();
    let seconds = (end - from.micros()).max(1) / 1_000_000;
    WIDTHS.into_iter().find(|width| seconds / i64::from(*width) <= MOST).unwrap_or(WEEK)
}

/// Bars over time.
pub(super) struct Bars {
    pub from: i64,
    pub seconds: i64,
    /// What was asked for: no bar leads out of it.
    created: TimeRange,
    /// Status, and its count in each bar.
    pub stacks: Vec<(Box<str>, Vec<u64>)>,
}

impl Bars {
    /// Of the buckets of each status. `created` is what was asked for; without bounds, what was found counts.
    pub(super) fn new(
        mut found: Vec<(Box<str>, Vec<HistogramBucket>)>,
        created: TimeRange,
        now: Timestamp,
        seconds: u32,
    ) -> Self {
        let rank = |status: &str| ORDER.iter().position(|known| *known == status).unwrap_or(ORDER.len());
        found.sort_by_key(|(status, _)| rank(status));
        let mut seconds = i64::from(seconds);
        let all = || found.iter().flat_map(|(_, buckets)| buckets).map(|bucket| bucket.from.micros() / 1_000_000);
        let (first, last) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
        let begin = created.from.map_or(first, |from| from.micros() / 1_000_000);
        // What has not come yet has no bars; what is there in spite of that counts.
        let end = match created.until {
            Some(until) => (until.min(now).micros() - 1) / 1_000_000,
            None if created.from.is_some() => now.micros() / 1_000_000,
            None => last,
        };
        while (end.max(last) - begin) / seconds > MOST {
            seconds = if seconds < WEEK.into() { WEEK.into() } else { seconds * 2 };
        }
        let from = begin.min(if first > 0 { first } else { begin }).div_euclid(seconds) * seconds;
        let bars = usize::try_from((end.max(last) - from).div_euclid(seconds) + 1).unwrap_or(1).min(400);
        let column = |buckets: Vec<HistogramBucket>| {
            let mut counts = vec![0; bars];
            for bucket in buckets {
                let place = (bucket.from.micros() / 1_000_000 - from).div_euclid(seconds);
                if let Some(count) = usize::try_from(place).ok().and_then(|place| counts.get_mut(place)) {
                    *count += bucket.count;
                }
            }
            counts
        };
        let stacks = found.into_iter().map(|(status, buckets)| (status, column(buckets))).collect();
        Self { from, seconds, created, stacks }
    }

    fn bars(&self) -> usize {
        self.stacks.first().map_or(0, |(_, counts)| counts.len())
    }

    fn at(&self, bar: usize) -> u64 {
        self.stacks.iter().filter_map(|(_, counts)| counts.get(bar)).sum()
    }

    fn span(&self, bar: usize) -> (Timestamp, Timestamp) {
        let begin = self.from + i64::try_from(bar).unwrap_or(0) * self.seconds;
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000).unwrap_or(Timestamp::MAX);
        (at(begin), at(begin + self.seconds))
    }

    /// Returns how an instant of the axis is written: the day counts where the bars are long.
    fn pattern(&self) -> &'static str {
        if self.seconds >= 86_400 { "%Y-%m-%d" } else { "%m-%d %H:%M" }
    }

    /// Returns the chart; every bar leads to its own span of the same page. Its table has the same links for those who do not
    /// point.
    pub(super) fn markup(&self, texts: &PageTexts, caption: &str, state: &AddressState, zone: Tz) -> Markup {
        let bars = self.bars();
        let highest = (0..bars).map(|bar| self.at(bar)).max().unwrap_or(0).max(1);
        let label = |bar: usize| instant(self.span(bar).0, zone, self.pattern());
        html! {
            figure.histogram {
                figcaption { (caption) span.legend { @for (status, _) in &self.stacks {
                    span.key.(class(status)) { (texts.status(status)) }
                } } }
                div.plot {
                    span.most { (count(highest.into())) }
                    svg viewBox={ "0 0 " (bars * 10) " 100" } preserveAspectRatio="none" aria-hidden="true" {
                        @for bar in (0..bars).filter(|bar| self.at(*bar) > 0) {
                            a href=(self.href(bar, state)) tabindex="-1" {
                                title { (self.title(bar, texts, zone)) }
                                rect x=(bar * 10) width="10" height="100" {}
                            }
                        }
                        @for (status, outline) in self.outlines(highest) { path.(class(status)) d=(outline) {} }
                    }
                    @if bars > 1 {
                        div.axis aria-hidden="true" { span { (label(0)) } span { (label(bars / 2)) } span { (label(bars - 1)) } }
                    }
                }
                (self.table(texts, state, zone))
            }
        }
    }

    /// Returns the link to what a bar counts: its span, as far as it was asked for. It is relative to the page, which has a hundred
    /// of them.
    fn href(&self, bar: usize, state: &AddressState) -> String {
        let (from, until) = self.span(bar);
        let from = self.created.from.map_or(from, |begin| from.max(begin));
        let until = self.created.until.map_or(until, |end| until.min(end));
        let text = |at: Timestamp| at.to_string().replace(".000000Z", "Z");
        state.spanning(Some(&text(from)), Some(&text(until))).href("")
    }

    fn title(&self, bar: usize, texts: &PageTexts, zone: Tz) -> String {
        let mut title = instant(self.span(bar).0, zone, "%Y-%m-%d %H:%M");
        for (status, counts) in &self.stacks {
            if let Some(number) = counts.get(bar).filter(|number| **number > 0) {
                let _ = write!(title, "\n{} {}", count((*number).into()), texts.status(status));
            }
        }
        title
    }

    /// Returns each status with the outline of its boxes, one upon the other in each bar.
    fn outlines(&self, highest: u64) -> Vec<(&str, String)> {
        let mut tops = vec![100.0; self.bars()];
        let outline = |(_, counts): &(Box<str>, Vec<u64>)| {
            let mut outline = String::new();
            for (bar, (number, top)) in counts.iter().zip(&mut tops).enumerate().filter(|(_, (number, _))| **number > 0)
            {
                // One run among thousands is still to be seen.
                let height = (*number as f64 / highest as f64 * 96.0).max(2.0);
                *top = f64::max(*top - height, 0.0);
                let _ = write!(outline, "M{} {top:.1}h8v{height:.1}h-8z", bar * 10 + 1);
            }
            outline
        };
        let outlines: Vec<_> = self.stacks.iter().map(outline).collect();
        self.stacks.iter().map(|(status, _)| &**status).zip(outlines).collect()
    }

    fn table(&self, texts: &PageTexts, state: &AddressState, zone: Tz) -> Markup {
        html! {
            details.behind {
                summary { (texts.as_table) }
                table {
                    thead { tr {
                        th scope="col" { (texts.span) }
                        @for (status, _) in &self.stacks { th.number scope="col" { (texts.status(status)) } }
                    } }
                    tbody { @for bar in (0..self.bars()).filter(|bar| self.at(*bar) > 0) { tr {
                        th scope="row" { a href=(self.href(bar, state)) { (instant(self.span(bar).0, zone, "%Y-%m-%d %H:%M")) } }
                        @for (_, counts) in &self.stacks { td.number { (count(counts.get(bar).copied().unwrap_or(0).into())) } }
                    } } }
                }
            }
        }
    }
}

/// Returns a column per day, and its table. A point is its name, its height and its number as text.
pub(super) fn columns(texts: &PageTexts, caption: &str, points: &[(String, f64, String)]) -> Markup {
    let highest = points.iter().map(|(_, value, _)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let most = points.iter().find(|(_, value, _)| *value >= highest).map_or("", |(_, _, shown)| shown.as_str());
    html! {
        div.plot {
            span.most { (most) }
            svg viewBox={ "0 0 " (points.len() * 10) " 100" } preserveAspectRatio="none" role="img" aria-label=(caption) {
                @for (place, (name, value, shown)) in points.iter().enumerate() {
                    @let height = (value / highest * 96.0).max(0.5);
                    g { title { (name) ": " (shown) }
                        rect.plain x=(place * 10 + 1) width="8" y=(format!("{:.1}", 100.0 - height)) height=(format!("{height:.1}")) {} }
                }
            }
            @if let (Some((first, ..)), Some((last, ..))) = (points.first(), points.last()) {
                div.axis aria-hidden="true" { span { (first) } @if points.len() > 1 { span { (last) } } }
            }
        }
        details.behind { summary { (texts.as_table) } table {
            thead { tr { th scope="col" { (texts.day) } th.number scope="col" { (caption) } } }
            tbody { @for (name, _, shown) in points { tr { th scope="row" { (name) } td.number { (shown) } } } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn bars_hold_every_count_once_and_are_few() {
        let now = at("2025-12-20T12:00:00Z");
        let day = TimeRange { from: Some(at("2025-12-19T12:00:00Z")), until: None };
        assert_eq!(width(day, now), 1200);
        let bucket = |text, count| HistogramBucket { from: at(text), count };
        let found = vec![
            ("succeeded".into(), vec![bucket("2025-12-19T12:00:00Z", 5), bucket("2025-12-20T11:40:00Z", 2)]),
            ("failed".into(), vec![bucket("2025-12-19T12:20:00Z", 1)]),
        ];
        let bars = Bars::new(found.clone(), day, now, 1200);
        assert_eq!(&*bars.stacks[0].0, "failed");
        assert_eq!((0..bars.bars()).map(|bar| bar_sum(&bars, bar)).sum::<u64>(), 8);
        assert!(bars.bars() <= 73, "{}", bars.bars());
        let years = vec![("failed".into(), vec![bucket("1999-01-01T00:00:00Z", 1), bucket("2025-01-01T00:00:00Z", 3)])];
        let bars = Bars::new(years, TimeRange::default(), now, 86_400);
        assert!(bars.bars() <= 73, "{}", bars.bars());
        assert_eq!((0..bars.bars()).map(|bar| bar_sum(&bars, bar)).sum::<u64>(), 4);
        assert_eq!(Bars::new(Vec::new(), TimeRange::default(), now, 86_400).bars(), 0);
        let today = TimeRange { from: Some(at("2025-12-20T00:00:00Z")), until: Some(at("2025-12-21T00:00:00Z")) };
        let found = vec![("failed".into(), vec![bucket("2025-12-20T11:50:00Z", 1)])];
        let bars = Bars::new(found, today, now, width(today, now));
        assert_eq!((bars.seconds, bars.bars()), (600, 72), "of the half of the day that has passed");
    }

    fn bar_sum(bars: &Bars, bar: usize) -> u64 {
        bars.at(bar)
    }
}
