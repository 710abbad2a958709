//! Nobody sees another tenant's rows, whoever asks for whatever in whichever order.

use difylog::domain::{AppId, Record, RecordId, RunStatus, TenantId};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::console::dify::{ECHO_HEADERS, Fault, User};
use crate::console::place::{Answer, Place};
use crate::support::records;

/// Requests of one run, of all worlds together; more by `DIFYLOG_TEST_STRANGERS`.
const REQUESTS: usize = 3_000;
/// Bridges that are asked beside one another, each with a Dify, users, rows and faults of its own. Every second one
/// keeps Dify's word no longer than one request takes.
const WORLDS: u64 = 4;
/// Workspaces of a world; one user for each, and one who is in the first two.
const TENANTS: usize = 4;
const BOTH: &str = "both";

struct World {
    place: Place,
    rng: StdRng,
    trusts: bool,
    tenants: Vec<TenantId>,
    apps: Vec<AppId>,
    runs: Vec<RecordId>,
}

/// What a world's requests came to.
#[derive(Default)]
struct Tally {
    answered: usize,
    /// Payloads, which only the store has here.
    from_the_store: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_holds_anything_of_another_tenant() {
    let requests = std::env::var("DIFYLOG_TEST_STRANGERS").map_or(REQUESTS, |text| text.parse().unwrap());
    let worlds = (0..WORLDS).map(|seed| tokio::spawn(walk(seed, requests / usize::try_from(WORLDS).unwrap())));
    for tally in join_all(worlds).await {
        let tally = tally.unwrap();
        assert!(tally.answered > 0 && tally.from_the_store > 0, "nobody was answered by the bridge");
    }
}

/// The proxy's shared secret is for this process; so is whom it names.
#[tokio::test]
async fn what_a_proxy_says_of_a_person_is_not_passed_on_to_dify() {
    let place = Place::new(true).await;
    let tenant = records::tenant();
    let app = place.app(tenant, "workflow");
    place.user("alice", &[tenant]);
    let headers = [
        ("x-forwarded-user", "ops"),
        ("X-Forwarded-Groups", "a,b"),
        ("x-proxy-secret", "only for difylog"),
        (ECHO_HEADERS, "yes"),
    ];
    for (method, path) in
        [("POST", "workflow-runs/count"), ("GET", "workflows/draft"), ("POST", "workflow-runs/x/stop")]
    {
        let path = format!("/console/api/apps/{app}/{path}");
        let answer = place.at(&place.base).request_with(method, "alice", &path, &headers, "").await;
        let seen = answer.json()["headers"].clone();
        let seen: Vec<&str> = seen.as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
        assert!(seen.contains(&ECHO_HEADERS) && seen.contains(&"cookie"), "{path}: {seen:?}");
        let withheld = ["x-forwarded-user", "x-forwarded-groups", "x-proxy-secret"];
        assert!(!seen.iter().any(|name| withheld.contains(name)), "{path}: {seen:?}");
    }
}

async fn walk(seed: u64, requests: usize) -> Tally {
    let mut world = World::new(seed).await;
    let mut tally = Tally::default();
    for _ in 0..requests {
        world.change();
        let (token, path) = (world.caller(), world.path());
        let answer = world.place.ask(&token, &path).await;
        world.judge(&token, &path, &answer);
        tally.answered += usize::from(answer.status == 200);
        tally.from_the_store += usize::from(answer.text.contains("mark"));
    }
    tally
}

impl World {
    async fn new(seed: u64) -> Self {
        let trusts = seed.is_multiple_of(2);
        let place = Place::trusting(if trusts { 60 } else { 0 }).await;
        let tenants: Vec<TenantId> = (0..TENANTS).map(|_| records::tenant()).collect();
        let rng = StdRng::seed_from_u64(seed);
        let mut world = Self { place, rng, trusts, tenants, apps: Vec::new(), runs: Vec::new() };
        for tenant in world.tenants.clone() {
            for mode in ["workflow", "advanced-chat"] {
                let app = world.place.app(tenant, mode);
                world.apps.push(app);
                world.fill(tenant, app).await;
            }
        }
        world.sign_everybody_in();
        world
    }

    /// Runs, nodes and logs that bear the mark of their owner, in the store; every second run in Dify's table as well.
    async fn fill(&mut self, tenant: TenantId, app: AppId) {
        for number in 0..6 {
            let at = records::later(records::at("2025-12-01T00:00:00Z"), number * 700_000);
            let mut run = records::run(tenant, app, at);
            run.inputs = records::json(&format!(r#"{{"mark": "{tenant}"}}"#));
            run.version = tenant.to_string().into();
            if number % 3 != 0 {
                run.status = RunStatus::Succeeded;
                run.finished_at = Some(records::later(at, 1));
            }
            let mut node = records::node(tenant, app, run.id, 1, at);
            node.title = tenant.to_string().into();
            let log = records::app_log(tenant, app, run.id, at);
            self.runs.push(run.id);
            if number % 2 == 0 {
                self.place.dify.tables.lock().unwrap().runs.push(run.clone());
            }
            let records = [Record::Run(Box::new(run)), Record::Node(Box::new(node)), Record::AppLog(Box::new(log))];
            self.place.store(records).await;
        }
    }

    fn sign_everybody_in(&self) {
        for (index, tenant) in self.tenants.iter().enumerate() {
            self.place.user(&format!("user{index}"), &[*tenant]);
        }
        self.place.user(BOTH, &self.tenants[..2]);
    }

    /// What happens at Dify's between two requests: a fault or none, another workspace, a session that ends, and
    /// everybody who signs in again.
    fn change(&mut self) {
        let fault = self.rng.random_bool(0.05).then(|| match self.rng.random_range(0..400) {
            0 => Fault::Hang,
            1..100 => Fault::Html,
            100..200 => Fault::Redirect,
            200..300 => Fault::ServerError,
            _ => Fault::Fickle,
        });
        if self.rng.random_bool(0.02) {
            self.sign_everybody_in();
        }
        let leaves = self.rng.random_bool(0.02).then(|| self.rng.random_range(0..=TENANTS));
        let mut tables = self.place.dify.tables.lock().unwrap();
        tables.fault = fault;
        if let Some(user) = leaves {
            tables.users.remove(&name(user));
        }
        if self.rng.random_bool(0.1)
            && let Some(both) = tables.users.get_mut(BOTH)
        {
            both.current = 1 - both.current;
        }
    }

    /// A user, or a session that never was, or none.
    fn caller(&mut self) -> String {
        match self.rng.random_range(0..TENANTS + 3) {
            user @ 0..=TENANTS => name(user),
            user if user == TENANTS + 1 => "expired".to_owned(),
            _ => String::new(),
        }
    }

    fn path(&mut self) -> String {
        let app = self.apps[self.rng.random_range(0..self.apps.len())];
        let run = self.runs[self.rng.random_range(0..self.runs.len())];
        let tail = match self.rng.random_range(0..9) {
            0 => format!("workflow-runs?triggered_from=app-run&limit={}", self.rng.random_range(1..9)),
            1 => format!("workflow-runs?triggered_from=app-run&last_id={run}"),
            2 => "advanced-chat/workflow-runs?triggered_from=app-run".to_owned(),
            3 | 4 => format!("workflow-runs/{run}"),
            5 => format!("workflow-runs/{run}/node-executions"),
            6 => "workflow-app-logs".to_owned(),
            7 => "workflow-runs/count?triggered_from=app-run".to_owned(),
            _ => "workflow/statistics/token-costs".to_owned(),
        };
        format!("/console/api/apps/{app}/{tail}")
    }

    /// An answer holds rows of the workspace that the caller is in, where Dify's word is not kept; else of those that
    /// the caller was in.
    fn judge(&self, token: &str, path: &str, answer: &Answer) {
        let own = if self.trusts { self.ever(token) } else { self.now(token) };
        for tenant in self.tenants.iter().filter(|tenant| !own.contains(tenant)) {
            assert!(!answer.text.contains(&tenant.to_string()), "{token:?} asked {path}: {answer:?}");
        }
        if own.is_empty() {
            // A fault of Dify's may be a page of HTML with status 200.
            let is_harmless = answer.status != 200 || answer.text.starts_with('<');
            assert!(is_harmless, "{token:?} asked {path} and was answered: {answer:?}");
        }
    }

    fn ever(&self, token: &str) -> Vec<TenantId> {
        match (0..=TENANTS).find(|user| name(*user) == token) {
            Some(TENANTS) => self.tenants[..2].to_vec(),
            Some(user) => vec![self.tenants[user]],
            None => Vec::new(),
        }
    }

    fn now(&self, token: &str) -> Vec<TenantId> {
        let current = |user: &User| user.tenants[user.current];
        self.place.dify.tables.lock().unwrap().users.get(token).map(current).into_iter().collect()
    }
}

fn name(user: usize) -> String {
    if user == TENANTS { BOTH.to_owned() } else { format!("user{user}") }
}
