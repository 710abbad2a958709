//! What is the same over every store, made of what each of them answers.

pub(super) mod documents;
pub(super) mod records;
pub(super) mod walks;
