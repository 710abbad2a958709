//! One table, so that a text is in both languages or nowhere.

macro_rules! texts {
    ($($name:ident: $en:literal, $zh:literal;)+) => {
        /// Every text of the pages.
        pub(in crate::http::ui) struct PageTexts {
            $(pub(in crate::http::ui) $name: &'static str,)+
        }

        pub(super) const EN: PageTexts = PageTexts { $($name: $en,)+ };
        pub(super) const ZH: PageTexts = PageTexts { $($name: $zh,)+ };
    };
}

texts! {
    // The shell
    product: "Log explorer", "日志浏览器";
    skip: "Skip to the content", "跳到正文";
    nav: "Screens", "页面";
    runs: "Runs", "运行记录";
    run: "Run", "运行";
    nodes: "Nodes", "节点";
    node: "Node", "节点";
    errors: "Errors", "错误";
    statistics: "Statistics", "统计";
    app_logs: "App logs", "应用日志";
    api_docs: "API", "API";
    sign_out: "Sign out", "退出";
    signed_in_as: "Signed in as", "已登录：";
    settings: "Language and colours", "语言与配色";
    language: "Language", "语言";
    theme: "Colours", "配色";
    theme_auto: "As the system", "跟随系统";
    theme_light: "Light", "浅色";
    theme_dark: "Dark", "深色";
    zone: "Times in", "时区";
    workspace: "Workspace", "工作空间";
    busy: "Still searching. A shorter time range or one app is quicker.", "仍在查询。缩短时间范围或选定一个应用会更快。";
    // Signing in
    sign_in: "Sign in", "登录";
    sign_in_lead: "Type a key of this difylog once. This browser keeps it sealed until you sign out, for 12 hours at most.",
        "输入一次本 difylog 的密钥。浏览器会加密保存，直到你退出，最长 12 小时。";
    key: "Key", "密钥";
    key_where: "Keys are made by whoever runs difylog: README, “Reading the logs”.", "密钥由 difylog 的管理员创建，见 README 的 “Reading the logs”。";
    key_unknown: "This key is not known. It may be mistyped, removed or of another difylog.", "密钥无效：可能输入有误、已被移除，或属于另一个 difylog。";
    link_used: "This link has been used, or is of an earlier start. Sign in with a key.", "此链接已使用过，或来自之前的启动。请用密钥登录。";
    attempts: "Too many wrong keys. Wait a minute and try again.", "错误次数过多，请一分钟后再试。";
    cookie_lost: "The browser did not keep the sign-in. Open this page over HTTPS, or on localhost, and allow cookies.",
        "浏览器没有保存登录状态。请通过 HTTPS 或 localhost 打开本页，并允许 Cookie。";
    no_access: "You have no access yet", "尚未获得访问权限";
    no_access_hint: "Your sign-in is known, and nothing here is given to it. Ask who runs difylog to give your user, or a group of yours, access.",
        "已识别你的登录身份，但它在这里没有任何权限。请联系 difylog 的管理员，为你的用户或所在的组授权。";
    foreign_form: "This form was sent from another page. Open this page again and send it from there.", "此表单来自其他页面。请重新打开本页再提交。";
    // Workspaces
    workspaces: "Workspaces", "工作空间";
    workspaces_lead: "Choose whose logs to read.", "选择要查看的工作空间。";
    workspace_id: "Workspace id", "工作空间 ID";
    open: "Open", "打开";
    workspaces_bound: "Those with runs in the last three months, most runs first.", "最近三个月有运行记录的工作空间，按数量排序。";
    workspaces_none: "No workspace has runs in the last three months. Open one by its id.", "最近三个月没有工作空间有运行记录。可按 ID 打开。";
    // Searching
    search: "Search", "搜索";
    search_hint: "A word of inputs, outputs or errors", "输入、输出或错误中的文字";
    search_nodes_hint: "A word of titles, errors or payloads", "标题、错误或载荷中的文字";
    search_in: "In", "范围";
    inputs: "Inputs", "输入";
    outputs: "Outputs", "输出";
    error: "Error", "错误";
    title: "Title", "标题";
    process_data: "Process data", "处理数据";
    metadata: "Metadata", "元数据";
    time: "Time", "时间";
    all_time: "All time", "全部";
    exact: "Exact", "精确";
    from: "From", "从";
    until: "Until", "到";
    apply: "Apply", "应用";
    filters: "Filters", "筛选";
    remove: "Remove this filter", "移除此筛选";
    reset: "Remove all", "全部移除";
    status: "Status", "状态";
    app: "App", "应用";
    trigger: "Trigger", "触发方式";
    node_type: "Type", "类型";
    creator: "By", "创建者";
    started: "Started", "开始时间";
    duration: "Duration", "耗时";
    tokens: "Tokens", "Token";
    steps: "Steps", "步数";
    version: "Version", "版本";
    workflow: "Workflow", "工作流";
    next: "Next page", "下一页";
    first: "First page", "第一页";
    newer: "newer: show", "条更新：查看";
    found: "found", "条";
    as_table: "As a table", "以表格显示";
    per_span: "Runs over time, by status", "各时段运行数（按状态）";
    nodes_per_span: "Node executions over time, by status", "各时段节点执行数（按状态）";
    span: "From", "起始";
    take_away: "Take away", "导出";
    cut_search: "Some texts were longer than what is searched of a field: there may be more.", "部分文本超出可搜索长度，可能还有更多结果。";
    names_missing: "Names cannot be looked up now: ids are shown where they are not known.", "暂时无法查询名称，未知名称以 ID 显示。";
    none: "Nothing in this view", "没有匹配的记录";
    none_hint: "No record fits all filters in this time range.", "该时间范围内没有符合全部条件的记录。";
    none_longer: "Look at all time", "查看全部时间";
    // A run
    timeline: "Timeline", "时间线";
    transcript: "Transcript", "逐步记录";
    graph: "Graph", "流程图";
    payloads: "Inputs and outputs", "输入与输出";
    ids: "Ids", "标识";
    copy: "Copy", "复制";
    copied: "Copied", "已复制";
    download: "Download", "下载";
    whole_text: "Whole text", "完整文本";
    cut: "cut when stored; whole size", "存储时已截断；原始大小";
    too_large: "Too large to show as a tree:", "内容过大，无法以树显示：";
    more_items: "more", "项未显示";
    no_nodes: "No node execution of this run is stored.", "没有存储此运行的节点执行。";
    no_graph: "The canvas of this run is not stored, or holds nothing that can be drawn.", "没有存储此运行的画布，或无法绘制。";
    retry: "retry", "重试";
    inside: "inside", "个内部节点";
    show_payloads: "Show inputs and outputs", "显示输入与输出";
    loading: "Loading…", "加载中…";
    not_loaded: "Could not be loaded. Open it as a page:", "加载失败。以页面打开：";
    node_page: "Open as a page", "以页面打开";
    running_since: "running", "运行中";
    not_started: "not reached", "未执行";
    graph_lead: "The canvas as it was when this run started. Nodes that did not run are pale.", "此运行开始时的画布，未执行的节点以浅色显示。";
    transcript_lead: "What went in and came out of each node, in order.", "按顺序列出每个节点的输入与输出。";
    nodes_cut: "Only the first nodes are drawn; the rest is in the transcript and the export.", "仅绘制前面的节点，其余见逐步记录与导出。";
    exceptions: "Handled errors", "已处理错误";
    // Statistics
    choose_app: "Choose an app", "选择应用";
    choose_app_lead: "These numbers are of one app.", "以下数据按单个应用统计。";
    day: "Day", "日期";
    daily_runs: "Runs", "运行次数";
    daily_users: "Users", "用户数";
    daily_tokens: "Tokens", "Token 用量";
    daily_interactions: "Runs per user", "人均运行次数";
    newest_runs: "of the newest", "最近";
    per_model: "Tokens and price per model", "各模型的 Token 与费用";
    models_all: "All model calls of this time range, debugging included:", "该时间范围内的全部模型调用（含调试）：";
    models_newest: "Only of the newest model calls, debugging included:", "仅统计最新的模型调用（含调试）：";
    models_oldest: "The oldest of them began", "其中最早的开始于";
    more_models: "more models with fewer tokens", "个用量更少的模型";
    model: "Model", "模型";
    provider: "Provider", "提供方";
    price: "Price", "费用";
    calls: "Calls", "调用次数";
    not_named: "not named", "未注明";
    unpriced: "without a price:", "无费用信息：";
    error_rate: "Error rate", "错误率";
    published_only: "Only runs of the published app are counted here, not those of debugging or of other triggers.",
        "此处仅统计已发布应用的运行，不含调试或其他触发方式的运行。";
    app_runs: "All runs of this app", "此应用的全部运行";
    days_cut: "The sums are of all days; drawn are only the newest:", "总数涵盖全部天数；图表仅绘制最近的天数：";
    whole_days: "Whole days are counted, from", "按整天统计，起始于";
    // Errors
    errors_lead: "Failed runs, grouped by what their error texts have in common: numbers, ids and quoted parts are left out.",
        "失败的运行，按错误文本的共同部分归组：数字、ID 与引号内容已忽略。";
    errors_bound: "Looked at the newest failed runs of this view:", "已查看此视图中最新的失败运行：";
    errors_all: "All failed runs of this view were looked at:", "已查看此视图中全部失败运行：";
    errors_everywhere: "Errors of all workspaces", "所有工作空间的错误";
    errors_all_looked_at: "All failed runs of this time range were looked at:", "已查看该时间范围内全部失败运行：";
    errors_newest_looked_at: "Only the newest failed runs were looked at:", "仅查看了最新的失败运行：";
    errors_cut_at: "The numbers are complete from this instant on:", "自此时刻起的数字是完整的：";
    error_groups: "more groups with fewer runs", "个运行更少的归组";
    over_time: "Over time", "时间分布";
    first_seen: "First seen", "首次出现";
    last_seen: "Last seen", "最近出现";
    apps: "Apps", "应用数";
    no_error_text: "(without an error text)", "（没有错误文本）";
    no_errors: "No run failed in this time range", "该时间范围内没有失败的运行";
    latest_run: "Latest run", "最近一次运行";
    // App logs
    source: "Source", "来源";
    page: "Page", "页";
    previous: "Previous page", "上一页";
    no_such_page: "There are fewer pages by now", "页数没有这么多";
    incomplete: "Logs may be missing: names could not be looked up for this search.", "可能有遗漏：此搜索无法查询名称。";
    run_gone: "its run is not stored", "运行记录不存在";
    // System
    system: "System", "系统";
    system_lead: "What the command “difylog status” sees, without hosts and reasons: those are in the command and the log.",
        "与命令“difylog status”相同，但不含主机名与原因；详情请见该命令与日志。";
    reachable: "reachable", "可用";
    unseen: "cannot be seen now", "暂时无法查看";
    store: "Store", "存储";
    payload_store: "Full texts", "完整文本存储";
    broker: "Broker", "消息队列服务";
    database: "PostgreSQL", "PostgreSQL";
    waiting: "Waiting messages", "等待中的消息";
    behind: "Behind by", "滞后";
    queues: "Queues", "队列";
    queue: "Queue", "队列";
    consumers: "Consumers", "消费者";
    months: "Months", "月份";
    month: "Month", "月份";
    size: "Size", "大小";
    open_in_dify: "Open in Dify", "在 Dify 中打开";
    // Comparing
    compare: "Compare", "对比";
    compare_lead: "Choose an earlier run of the same app to see what differs.", "选择同一应用更早的一次运行，查看差异。";
    compare_none: "There is no earlier run of this app.", "此应用没有更早的运行。";
    compare_id: "Or a run by its id", "或输入运行 ID";
    compare_same: "Nothing differs.", "没有差异。";
    compare_cut: "There are more differences than are shown.", "差异过多，仅显示一部分。";
    this_run: "This run", "此运行";
    differs: "differs", "不同";
    absent: "not there", "无";
    // Conversations and people
    conversation: "Conversation", "会话";
    turns: "runs, oldest first", "次运行，从旧到新";
    turns_cut: "Only the first 500 are shown.", "仅显示前 500 次。";
    asked: "Asked", "提问";
    answered: "Answered", "回答";
    person: "User", "用户";
    email: "E-mail", "邮箱";
    all_runs: "All of them, to search and export", "查看全部（可搜索与导出）";
    // Dead letters
    dead_letters: "Dead letters", "死信";
    dead_letters_lead: "Messages that were refused, as the command “difylog dlq” lists them. A letter waits until its cause is mended and it is replayed, or until it is deleted.",
        "被拒绝的消息，与命令“difylog dlq”所列相同。死信会保留，直到原因解决后重放，或被删除。";
    no_letters: "No dead letters", "没有死信";
    no_letters_hint: "Nothing was refused, or everything was replayed.", "没有消息被拒绝，或已全部重放。";
    no_letters_view: "No letter fits these filters.", "没有符合筛选条件的死信。";
    letters_found: "found", "封死信";
    letters_walked: "Only the first letters of the queue were looked at; behind them there are", "只查看了队列前面的死信，其后还有";
    reason: "Reason", "原因";
    reason_unknown: "A reason that this version does not know.", "此版本不认识的原因。";
    kind: "Kind", "种类";
    unreadable_letter: "cannot be read", "无法读取";
    at: "Refused at", "拒绝时间";
    attempts_made: "Attempts", "尝试次数";
    choose: "Choose", "选择";
    letter: "Letter", "死信";
    doubt: "Would be passed over", "重放时会跳过";
    headers: "Headers and properties", "消息头与属性";
    body_masked: "Body, masked: texts are shown by their length", "消息体（已遮蔽）：文本仅显示长度";
    chosen_or_all: "What you do is done to the letters that you choose, or, if you choose none, to all of this view:",
        "操作针对所选死信；若未选择，则针对此视图中的全部死信：";
    rate: "Letters per second, at most", "每秒最多";
    dry_run: "Dry run", "试运行";
    replay: "Replay", "重放";
    purge: "Delete for good", "永久删除";
    purge_number: "Type the number of letters to delete", "请输入要删除的死信数量";
    purged: "letters were deleted.", "封死信已删除。";
    dry_run_would: "letters would go back to their queues. Nothing was changed.", "封死信将回到原队列。未做任何更改。";
    dry_run_skipped: "would be passed over and stay; the first one:", "封会被跳过并保留；第一封：";
    replaying: "Replaying", "正在重放";
    replay_done: "Replayed", "重放完成";
    replay_stopped: "Stopped", "已停止";
    replay_failed: "The replay broke off", "重放中断";
    replay_failed_hint: "What was confirmed is replayed, the rest is still here. The log of this difylog has the reason; the replay can be begun again.",
        "已确认的已重放，其余仍在。原因见日志；可以再次开始。";
    replay_abandoned: "The difylog that ran it ended, or lost the store, before it said how the replay ended. What was confirmed is replayed, the rest is still here; the replay can be begun again.",
        "执行重放的 difylog 在报告结果之前已结束或失去存储。已确认的已重放，其余仍在；可以再次开始。";
    begun: "Begun", "开始于";
    ended: "ended", "结束于";
    replayed_of: "back in their queues, of", "封已回到队列，共";
    refused_letters: "were not taken by their queue and stay:", "封未被队列接收，仍保留：";
    stop: "Stop", "停止";
    refresh: "Refresh", "刷新";
    to_letters: "To the dead letters", "返回死信";
    broker_down: "The broker does not answer", "消息队列服务没有响应";
    broker_down_hint: "Dead letters lie there. Nothing is lost; try again in a moment.", "死信保存在那里，不会丢失。请稍后再试。";
    conflict: "Not now", "现在不行";
    // States
    not_found: "Nothing here", "这里没有内容";
    not_found_hint: "It was deleted, never stored, or this key does not reach it.", "可能已删除、从未存储，或此密钥无权查看。";
    no_right: "This key may not do that", "此密钥没有权限";
    store_down: "The store does not answer", "存储没有响应";
    store_down_hint: "Nothing is lost: new logs wait in the queue. Try again in a moment.", "数据不会丢失：新日志会在队列中等待。请稍后再试。";
    too_slow: "This took too long", "查询超时";
    too_slow_hint: "Shorten the time range, choose an app or a status, then try again.", "请缩短时间范围、选择应用或状态后再试。";
    too_many: "Too much at once", "请求过多";
    too_many_hint: "Other questions are being answered. Try again in a second.", "正在处理其他请求，请一秒后再试。";
    wrong_address: "This address cannot be read", "地址无法识别";
    unreadable: "This record cannot be read", "记录无法读取";
    problem: "Something went wrong", "出现问题";
    try_again: "Try again", "重试";
    back: "Back to the runs", "返回运行记录";
    request: "Request", "请求编号";
}
