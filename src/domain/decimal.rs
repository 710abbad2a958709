//! Prices as decimal numbers: read from the digits that were written, added in integers, never through a binary fraction.

use std::fmt;
use std::str::FromStr;

/// Decimal places that are kept.
const PLACES: u32 = 12;
const ONE: i128 = 10_i128.pow(PLACES);
/// Digits of a number that is read, and its largest exponent: more than any price has.
const MOST_CHARS: usize = 64;
const MOST_EXPONENT: i64 = 40;

/// What no number reaches.
const LIMIT: i128 = ONE * 10_i128.pow(26);

/// A decimal number of 12 places, between ±10^26.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Decimal(i128);

/// A text that is no decimal number, or one that is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a decimal number below 10^26")]
pub struct InvalidDecimal;

impl Decimal {
    /// Returns the sum, or the bound that it exceeds.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Returns whether it is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

/// Reads what JSON calls a number, such as `0.0021` or `2.8e-05`. What a binary fraction adds behind the twelfth place is rounded
/// away, half away from zero.
impl FromStr for Decimal {
    type Err = InvalidDecimal;

    fn from_str(text: &str) -> Result<Self, InvalidDecimal> {
        if text.len() > MOST_CHARS {
            return Err(InvalidDecimal);
        }
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| InvalidDecimal)?),
            None => (text, 0),
        };
        if exponent.abs() > MOST_EXPONENT {
            return Err(InvalidDecimal);
        }
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() || mantissa.ends_with('.') {
            return Err(InvalidDecimal);
        }
        let point = i64::try_from(whole.len()).map_err(|_| InvalidDecimal)? + exponent;
        let kept = point + i64::from(PLACES);
        let digits = whole.bytes().chain(fraction.bytes());
        let (mut sum, mut place) = (0_i128, 0_i64);
        for digit in digits {
            if !digit.is_ascii_digit() {
                return Err(InvalidDecimal);
            }
            let digit = i128::from(digit - b'0');
            if place < kept {
                sum = sum.checked_mul(10).and_then(|sum| sum.checked_add(digit)).ok_or(InvalidDecimal)?;
            } else if place == kept && digit >= 5 {
                sum += 1;
            }
            place += 1;
        }
        for _ in place..kept {
            sum = sum.checked_mul(10).ok_or(InvalidDecimal)?;
        }
        if sum >= LIMIT {
            return Err(InvalidDecimal);
        }
        Ok(Self(if is_negative { -sum } else { sum }))
    }
}

/// Writes all places that are not zero at the end.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) =
            (self.0.unsigned_abs() / ONE.unsigned_abs(), self.0.unsigned_abs() % ONE.unsigned_abs());
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let fraction = format!("{fraction:0places$}", places = PLACES as usize);
        write!(f, "{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<String> {
        text.parse::<Decimal>().ok().map(|decimal| decimal.to_string())
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for (text, decimal) in [
            ("0", "0"),
            ("0.002428", "0.002428"),
            ("2.8e-05", "0.000028"),
            ("1.5E+3", "1500"),
            ("0.00030000000000000003", "0.0003"),
            ("0.30000000000000004", "0.3"),
            ("0.9999999999999999", "1"),
            ("-1.250", "-1.25"),
            ("-0.0", "0"),
            ("1e-40", "0"),
            ("99999999999999999999999999", "99999999999999999999999999"),
        ] {
            assert_eq!(read(text).as_deref(), Some(decimal), "{text}");
        }
        for text in [
            "", "-", ".", "1.", ".5", "+1", "1,5", "0x1", "NaN", "Infinity", "1e", "1e99", "1e26", "٣", "1.2.3", " 1",
            "1e5e5",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(read(&"9".repeat(1000)), None);
    }

    proptest! {
        #[test]
        fn sums_are_exact(prices in prop::collection::vec(0_u64..10_000_000_000, 0..50)) {
            let sum = prices.iter().map(|price| format!("{}.{:07}", price / 10_000_000, price % 10_000_000).parse::<Decimal>().unwrap());
            let sum = sum.fold(Decimal::default(), Decimal::saturating_add);
            let exact: u64 = prices.iter().sum();
            let expected: Decimal = format!("{}.{:07}", exact / 10_000_000, exact % 10_000_000).parse().unwrap();
            prop_assert_eq!(sum, expected);
            prop_assert_eq!(sum.to_string().parse::<Decimal>().unwrap(), sum);
        }

        #[test]
        fn no_text_is_too_much(text in "[-+0-9.eE]{0,80}") {
            let _ = text.parse::<Decimal>();
        }
    }
}
