//! The apps of the made-up site: their steps, their canvases, and what is asked and answered.

use serde_json::{Value, json};

use crate::domain::JsonText;

/// One node of a canvas.
pub(super) struct CanvasNode {
    pub id: &'static str,
    pub kind: &'static str,
    pub title: &'static str,
    /// How long it takes, about.
    pub millis: i64,
    pub can_fail: bool,
    pub output: &'static str,
    /// An iteration: rounds at most, and what each holds.
    pub rounds: u32,
    pub inside: &'static [CanvasNode],
}

/// One app.
pub(super) struct PlannedApp {
    pub lang: &'static str,
    pub version: &'static str,
    pub steps: &'static [CanvasNode],
    pub questions: &'static [&'static str],
    pub answers: &'static [&'static str],
}

const fn step(
    id: &'static str,
    kind: &'static str,
    title: &'static str,
    millis: i64,
    output: &'static str,
) -> CanvasNode {
    CanvasNode { id, kind, title, millis, can_fail: false, output, rounds: 0, inside: &[] }
}

const fn fragile(
    id: &'static str,
    kind: &'static str,
    title: &'static str,
    millis: i64,
    output: &'static str,
) -> CanvasNode {
    CanvasNode { can_fail: true, ..step(id, kind, title, millis, output) }
}

/// What goes wrong; `{n}` is another number each time.
pub(super) const ERRORS: &[&str] = &[
    "Request to https://orders.example/v2/orders/{n} failed with status 503: upstream connect error",
    "Request to https://orders.example/v2/orders/{n} failed with status 503: upstream connect error",
    "Rate limit reached for model 'gpt-4o-mini': 30000 tokens per minute. Try again in {n} ms",
    "Invalid JSON in the answer of the model: Expecting ',' delimiter: line 1 column {n}",
    "Knowledge base 'handbook-{n}' is not reachable: connection timed out",
];

pub(super) const APPS: &[PlannedApp] = &[
    PlannedApp {
        lang: "en",
        version: "2026-11-12 09:30:11.123456",
        steps: &[
            step("start", "start", "Start", 4, "ok"),
            step(
                "retrieval",
                "knowledge-retrieval",
                "Search the handbook",
                420,
                "3 passages: returns, refunds, delivery times",
            ),
            step("classify", "question-classifier", "What is it about?", 650, "refund"),
            fragile("orders", "http-request", "Look up the order", 900, "{\"status\": 200, \"order\": \"shipped\"}"),
            step(
                "answer",
                "llm",
                "Write the answer",
                3200,
                "Your refund was issued on Monday and takes three working days.",
            ),
            step("end", "end", "End", 3, "done"),
        ],
        questions: &[
            "Where is my order 48213? It was promised for Friday.",
            "I would like a refund for the broken lamp.",
            "How do I change the delivery address?",
            "Your invoice shows the wrong company name – please correct it.",
            "Can I return the shoes after 30 days?",
            "¿Puedo pagar en dos plazos?",
        ],
        answers: &[
            "Your parcel left our warehouse this morning and arrives tomorrow.",
            "The refund was issued on Monday. It takes three working days.",
            "You can change the address until the parcel is handed over.",
            "Returns are possible within 60 days, if the shoes were not worn outside.",
        ],
    },
    PlannedApp {
        lang: "zh-Hans",
        version: "2026-11-25 16:02:40.500000",
        steps: &[
            step("start", "start", "开始", 4, "ok"),
            step("parse", "parameter-extractor", "提取订单信息", 800, "订单号 2048，退款原因：破损"),
            fragile("stock", "http-request", "查询库存", 600, "{\"stock\": 12}"),
            step("judge", "llm", "退款审核", 2600, "符合退款条件，建议全额退款。"),
            step("branch", "if-else", "是否通过", 5, "true"),
            step("end", "end", "结束", 3, "done"),
        ],
        questions: &[
            "我的订单什么时候发货？",
            "收到的杯子碎了，我要退款。",
            "发票抬头写错了，可以重开吗？",
            "能不能换成蓝色的？",
        ],
        answers: &[
            "已为您办理全额退款，预计三个工作日到账。",
            "您的订单今天下午发出。",
            "发票已重新开具，请查收邮件。",
        ],
    },
    PlannedApp {
        lang: "en",
        version: "2026-10-30 11:11:11.000000",
        steps: &[
            step("start", "start", "Start", 4, "ok"),
            step("outline", "llm", "Make an outline", 2800, "1. Sales 2. Returns 3. Outlook"),
            CanvasNode {
                rounds: 6,
                inside: &[
                    step("draft", "llm", "Draft a section", 2400, "Sales grew by 4 % over the quarter before."),
                    step("check", "code", "Check the numbers", 60, "all numbers found in the table"),
                ],
                ..step("sections", "iteration", "Each section", 100, "[\"…\"]")
            },
            fragile("publish", "http-request", "Publish", 700, "{\"status\": 201}"),
            step("end", "end", "End", 3, "done"),
        ],
        questions: &[
            "Write the weekly report on returns.",
            "Quarterly sales summary, two pages.",
            "Report on delivery delays in November.",
        ],
        answers: &["The report has three sections and was published.", "Published: 2 pages, 5 tables."],
    },
];

impl PlannedApp {
    /// Returns the canvas, as Dify keeps it.
    pub(super) fn canvas(&self) -> JsonText {
        let (mut nodes, mut edges, mut x) = (Vec::<Value>::new(), Vec::<Value>::new(), 80);
        let mut before: Option<&str> = None;
        for (place, step) in self.steps.iter().enumerate() {
            let (width, height) = if step.rounds > 0 { (620, 190) } else { (244, 64) };
            let y = if place % 2 == 0 { 200 } else { 260 };
            nodes.push(json!({
                "id": step.id, "type": "custom", "position": { "x": x, "y": y }, "width": width, "height": height,
                "data": { "title": step.title, "type": step.kind },
            }));
            for (inner, inside) in step.inside.iter().enumerate() {
                nodes.push(json!({
                    "id": inside.id, "type": "custom", "parentId": step.id, "width": 244, "height": 64,
                    "position": { "x": 40 + inner * 290, "y": 90 }, "data": { "title": inside.title, "type": inside.kind },
                }));
                if let Some(other) = inner.checked_sub(1).and_then(|other| step.inside.get(other)) {
                    edges.push(json!({ "id": inside.id, "source": other.id, "target": inside.id }));
                }
            }
            if let Some(before) = before {
                edges.push(json!({ "id": step.id, "source": before, "target": step.id }));
            }
            before = Some(step.id);
            x += width + 70;
        }
        let canvas = json!({ "nodes": nodes, "edges": edges, "viewport": { "x": 0, "y": 0, "zoom": 0.7 } });
        JsonText::from_clean(canvas.to_string())
    }
}
