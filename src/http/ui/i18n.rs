//! What the pages say, in English and Simplified Chinese.

mod reasons;
mod texts;

use std::borrow::Cow;

pub(super) use self::texts::PageTexts;
use self::texts::{EN, ZH};
use crate::domain::printable;

/// A language of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lang {
    En,
    Zh,
}

impl Lang {
    pub(super) const ALL: [Self; 2] = [Self::En, Self::Zh];

    /// Returns the tag for the page's `lang`.
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh-Hans",
        }
    }

    /// Returns the short name of a cookie or a form.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// Returns the language's own name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::Zh => "中文",
        }
    }

    pub(super) fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lang| lang.code() == code)
    }

    /// Returns the first language of an `Accept-Language` header that there is; the order of the header counts, weights
    /// do not.
    pub(super) fn accepted(header: &str) -> Self {
        let known = |part: &str| match part.trim().get(..2)?.to_ascii_lowercase().as_str() {
            "zh" => Some(Self::Zh),
            "en" => Some(Self::En),
            _ => None,
        };
        header.split(',').take(16).find_map(known).unwrap_or(Self::En)
    }

    pub(super) const fn texts(self) -> &'static PageTexts {
        match self {
            Self::En => &EN,
            Self::Zh => &ZH,
        }
    }
}

impl PageTexts {
    /// Returns the word of a status: as stored where there is no own word, without what acts.
    pub(super) fn status<'a>(&self, status: &'a str) -> Cow<'a, str> {
        match status.char_indices().nth(40) {
            Some((end, _)) => Cow::Owned(printable(status.get(..end).unwrap_or_default()).into_owned()),
            None if self.is_english() => printable(status),
            None => printable(zh_status(status)),
        }
    }

    fn is_english(&self) -> bool {
        self.runs == EN.runs
    }

    /// Returns why a message became a dead letter, in a sentence; `None` for a reason that is none of the known ones.
    pub(super) fn reason(&self, reason: &str) -> Option<&'static str> {
        reasons::words(reason).map(|(en, zh)| if self.is_english() { en } else { zh })
    }
}

fn zh_status(status: &str) -> &str {
    match status {
        "succeeded" => "成功",
        "failed" => "失败",
        "running" => "运行中",
        "stopped" => "已停止",
        "partial-succeeded" => "部分成功",
        "paused" => "已暂停",
        "exception" => "异常（已处理）",
        "pending" => "等待中",
        "retry" => "重试",
        "scheduled" => "已计划",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_language_of_the_header_counts() {
        for (header, lang) in [
            ("zh-CN,zh;q=0.9,en;q=0.8", Lang::Zh),
            ("de, ZH-hans;q=0.5", Lang::Zh),
            ("en-US,zh", Lang::En),
            ("fr", Lang::En),
            ("", Lang::En),
            ("ü,zh", Lang::Zh),
        ] {
            assert_eq!(Lang::accepted(header), lang, "{header}");
        }
    }

    #[test]
    fn statuses_have_words_in_both_languages() {
        assert_eq!(Lang::En.texts().status("failed"), "failed");
        assert_eq!(Lang::Zh.texts().status("failed"), "失败");
        assert_eq!(Lang::Zh.texts().status("of a newer Dify"), "of a newer Dify");
    }
}
