//! The first pass: how much of a text lies in long strings and in the tails of containers, and the caps that follow.

use super::lexer::{Lexer, TokenKind};
use super::{Caps, SHORTEST_CAP, water_level};

/// Returns the caps under which a text over its budget fits, if any caps can do it.
pub(super) fn caps(text: &str, budget: usize) -> Caps {
    let mut survey = Survey::of(text);
    let outside = text.len() - survey.long.iter().sum::<usize>();
    let level = water_level(&mut survey.long, budget.saturating_sub(outside));
    match level {
        Some(string) if string >= SHORTEST_CAP => Caps { string, elements: usize::MAX },
        _ => Caps { string: SHORTEST_CAP, elements: survey.elements_within(budget) },
    }
}

/// Where the bytes are.
struct Survey {
    /// Lengths of the string values over [`SHORTEST_CAP`], between the quotes.
    long: Vec<usize>,
    /// Bytes, strings cut to the shortest cap, by the greatest position of an element on their path: a cap of `n`
    /// elements removes exactly what has a position of `n` or more. Bucket by bucket: see [`bucket_of`].
    by_position: [usize; BUCKETS],
}

/// A container on the path.
struct Frame {
    /// Position of the current element.
    position: usize,
    /// Greatest position above this container.
    above: usize,
}

impl Survey {
    fn of(text: &str) -> Self {
        let mut survey = Self { long: Vec::new(), by_position: [0; BUCKETS] };
        let mut path: Vec<Frame> = Vec::new();
        let mut counted = 0;
        for token in Lexer::new(text) {
            if token.kind == TokenKind::Close {
                path.pop();
            }
            if let (TokenKind::Comma, Some(frame)) = (token.kind, path.last_mut()) {
                frame.position += 1;
            }
            let position = path.last().map_or(0, |frame| frame.position.max(frame.above));
            let mut bytes = token.range.end - counted;
            counted = token.range.end;
            if token.kind == TokenKind::Text {
                let length = token.range.len() - 2;
                if length > SHORTEST_CAP {
                    survey.long.push(length);
                    bytes -= length - SHORTEST_CAP;
                }
            }
            if let Some(bucket) = survey.by_position.get_mut(bucket_of(position)) {
                *bucket += bytes;
            }
            if token.kind == TokenKind::Open {
                path.push(Frame { position: 0, above: position });
            }
        }
        survey
    }

    /// Largest count of elements per container with which the text fits, strings at their shortest; at least 1.
    fn elements_within(&self, budget: usize) -> usize {
        let mut total = 0;
        let fitting = self.by_position.iter().take_while(|bytes| {
            total += **bytes;
            total <= budget
        });
        match fitting.count() {
            BUCKETS => usize::MAX,
            0 => 1,
            buckets => start_of(buckets),
        }
    }
}

/// Positions below 16 have a bucket each; above, every power of two has eight, so a cap is at most an eighth too small.
const BUCKETS: usize = 16 + (usize::BITS as usize - 4) * 8;

const fn bucket_of(position: usize) -> usize {
    if position < 16 {
        return position;
    }
    let power = position.ilog2() as usize;
    16 + (power - 4) * 8 + (position >> (power - 3) & 7)
}

/// Returns the first position of a bucket.
const fn start_of(bucket: usize) -> usize {
    if bucket < 16 {
        return bucket;
    }
    let (power, eighth) = ((bucket - 16) / 8 + 4, (bucket - 16) % 8);
    (8 + eighth) << (power - 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_every_position_once() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(start_of(bucket)), bucket);
            if bucket > 0 {
                assert_eq!(bucket_of(start_of(bucket) - 1), bucket - 1);
            }
        }
        assert_eq!(bucket_of(usize::MAX), BUCKETS - 1);
    }
}
