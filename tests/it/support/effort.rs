//! How long the cases that repeat themselves go on.

/// Returns `long` where `DIFYLOG_TEST_LONG` is set, as `scripts/test all` does, else `short`.
pub fn rounds<T>(short: T, long: T) -> T {
    if std::env::var_os("DIFYLOG_TEST_LONG").is_some() { long } else { short }
}
