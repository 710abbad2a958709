//! Why messages become dead letters, in sentences for people.

/// Returns the sentence in English and in Chinese.
pub(super) fn words(reason: &str) -> Option<(&'static str, &'static str)> {
    Some(match reason {
        "undecodable-body" => (
            "The body is not the JSON that it should be, or its compression is broken.",
            "消息体不是应有的 JSON，或压缩已损坏。",
        ),
        "unsupported-content-type" => {
            ("The body is not JSON. Pickles are never read.", "消息体不是 JSON。从不读取 pickle。")
        }
        "unsupported-compression" => {
            ("It is compressed in a way that difylog does not know.", "使用了 difylog 不认识的压缩方式。")
        }
        "unknown-task" => ("A Celery task that is none of Dify's log tasks.", "不是 Dify 日志任务的 Celery 任务。"),
        "unknown-kind" => ("An event of a kind that this version does not know.", "此版本不认识的事件种类。"),
        "unknown-version" => {
            ("An event of a newer version. Upgrade difylog, then replay.", "较新版本的事件。请升级 difylog 后重放。")
        }
        "missing-field" => ("A field that is needed is absent or null.", "缺少必需的字段。"),
        "invalid-field" => {
            ("A field has the wrong type, or is longer than its column.", "字段类型错误，或超出列长度。")
        }
        "invalid-id" => ("An id is not a UUID.", "ID 不是 UUID。"),
        "date-out-of-range" => (
            "Its date is beyond the months that are written. Widen pipeline.months_back or months_ahead, then replay.",
            "日期超出可写入的月份。请放宽 pipeline.months_back 或 months_ahead 后重放。",
        ),
        "too-large" => (
            "It is larger than the largest message that is taken. Raise the bound (max_message_bytes), then replay.",
            "超过允许的最大消息。请提高上限（max_message_bytes）后重放。",
        ),
        "refused-by-store" => (
            "The store said no for good. Often `difylog setup` was not run after an upgrade; run it, then replay.",
            "存储明确拒绝。常见原因是升级后未运行 `difylog setup`；运行后再重放。",
        ),
        "broker:rejected" => {
            ("A consumer rejected it, and the broker put it here.", "被消费者拒绝，由消息队列服务转到这里。")
        }
        "broker:expired" => ("It waited longer than its time to live.", "等待时间超过其有效期。"),
        "broker:maxlen" => ("Its queue was full.", "队列已满。"),
        "broker:delivery_limit" => ("It was delivered too often without being settled.", "多次投递仍未确认。"),
        "unknown" => (
            "A message that is no letter of difylog's or the broker's.",
            "既不是 difylog 也不是消息队列服务产生的死信。",
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::words;
    use crate::domain::RefusalClass;

    #[test]
    fn every_reason_class_has_words() {
        for class in RefusalClass::ALL {
            assert!(words(class.as_str()).is_some(), "{class}");
        }
        assert_eq!(words("of a newer difylog"), None);
    }
}
