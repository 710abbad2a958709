//! Names that were carried into the store: shown where Dify's PostgreSQL is gone, or has deleted what they name.

use difylog::domain::{AppId, Record, RecordId, TenantId};
use serde_json::Value;

use crate::api::serving::{KEY, Serving};
use crate::support::postgres::{NAMES, Postgres, Schema};
use crate::support::records;
use crate::support::site::{Site, StoreUnderTest};

struct Kept {
    postgres: Postgres,
    site: Site,
    tenant: TenantId,
    app: AppId,
    account: RecordId,
    run: RecordId,
    /// A workspace with a run of its own, as if of the first one's app.
    other: TenantId,
}

impl Kept {
    async fn new(store: &StoreUnderTest) -> Self {
        let postgres = Postgres::empty(Schema::V12);
        postgres.sql(NAMES);
        let more = format!(
            "[postgres]\nurl = \"{}\"\n[log]\nfilter = \"info\"\n[serve]\nkeep_names = true\n[[serve.keys]]\nname = \"k\"\n\
             sha256 = \"{}\"\nadmin = true\n",
            postgres.url(),
            records::sha256(KEY)
        );
        let site = Site::with(store, "amqp://127.0.0.1:9", &more);
        let (tenant, other, app) = (records::tenant(), records::tenant(), records::app());
        let mut run = records::run(tenant, app, records::at("2025-12-01T00:00:00Z"));
        let (account, id) = (run.created_by, run.id);
        run.created_by_role = "account".into();
        let foreign = records::run(other, app, records::at("2025-12-01T00:00:00Z"));
        let opened = site.store();
        opened.install().await.unwrap();
        let both = [Record::Run(Box::new(run)), Record::Run(Box::new(foreign))];
        let actions: Vec<_> = both.into_iter().flat_map(records::actions).collect();
        opened.apply(&actions).await.unwrap();
        opened.refresh().await.unwrap();
        opened.close().await;
        postgres.sql(&format!(
            "INSERT INTO tenants VALUES ('{tenant}', 'Our shop'), ('{other}', 'Another');
             INSERT INTO apps VALUES ('{app}', '{tenant}', 'Parcel desk', 'workflow', 'emoji', '📦');
             INSERT INTO accounts (id, name, email) VALUES ('{account}', 'Ada', 'ada@example.org');
             INSERT INTO tenant_account_joins VALUES ('{tenant}', '{account}')"
        ));
        Self { postgres, site, tenant, app, account, run: id, other }
    }

    /// What the command line shows of a tenant's runs, and says beside that.
    fn listed(&self, tenant: TenantId, postgres_url: &str) -> (Value, String) {
        let words = ["runs", "list", "--app", &self.app.to_string(), "--tenant", &tenant.to_string(), "--json"];
        let output = self.site.command(&words).env("DIFYLOG__POSTGRES__URL", postgres_url).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let first = printed.lines().next().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        (serde_json::from_str(first).unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

async fn names_outlive_postgresql(store: &StoreUnderTest) {
    let kept = Kept::new(store).await;
    let away = "postgres://postgres@127.0.0.1:1/dify";
    let (row, said) = kept.listed(kept.tenant, away);
    assert!(row["app_name"].is_null() && said.contains("names are missing"), "{row} {said}");

    let carry = || -> Value { serde_json::from_str(&kept.site.ok(&["names", "carry", "--json"])).unwrap() };
    let counts = serde_json::json!({ "workspaces": 2, "apps": 1, "accounts": 1, "renewed": 2 });
    assert_eq!(carry(), counts);
    assert_eq!(carry()["renewed"], 0, "what is known is not written again");

    // Dify deletes the app and renames the workspace; then PostgreSQL goes.
    kept.postgres.sql("DELETE FROM apps; UPDATE tenants SET name = 'Our new shop' WHERE name = 'Our shop'");
    assert_eq!(carry()["renewed"], 1);
    for url in [kept.postgres.url().as_str(), away] {
        let (row, said) = kept.listed(kept.tenant, url);
        let names = (&row["app_name"], &row["tenant_name"]);
        assert_eq!((names, said.as_str()), ((&"Parcel desk".into(), &"Our new shop".into()), ""), "{row}");
    }
    let (row, _) = kept.listed(kept.other, away);
    assert_eq!((&row["app_name"], &row["tenant_name"]), (&Value::Null, &"Another".into()), "another workspace's app");

    // The API has names without a PostgreSQL at all.
    let Kept { site, tenant, app, account, run, .. } = kept;
    let serving = Serving::start(site).await;
    let answer = serving.ask("GET", &format!("/v1/tenants/{tenant}/runs"), KEY).await;
    assert!(answer.contains("Parcel desk"), "{answer}");
    let answer = serving.ask("GET", &format!("/v1/tenants/{tenant}/apps/{app}/workflow-runs/{run}"), KEY).await;
    assert!(answer.contains("\"name\":\"Ada\"") && answer.contains(&account.to_string()), "{answer}");
    let said = serving.site.ok(&["names", "forget", "--tenant", &tenant.to_string()]);
    assert!(said.contains("removed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_were_carried_over_outlive_postgresql() {
    Box::pin(names_outlive_postgresql(&StoreUnderTest::Sqlite)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_were_carried_over_outlive_postgresql_over_the_engine() {
    Box::pin(names_outlive_postgresql(&StoreUnderTest::engine("shared"))).await;
}

/// Once at its start; then once a day.
#[tokio::test(flavor = "multi_thread")]
async fn serve_carries_names_over_by_itself() {
    let kept = Kept::new(&StoreUnderTest::Sqlite).await;
    let tenant = kept.tenant;
    let mut command = kept.site.command(&["serve"]);
    command.env("DIFYLOG__SERVE__LISTEN", "127.0.0.1:0").env("DIFYLOG__SERVE__NAMES", "true");
    let serving = Serving::of(kept.site, command).await;
    serving.logged("names were carried into the store").await;
    kept.postgres.sql("DELETE FROM apps");
    let answer = serving.ask("GET", &format!("/v1/tenants/{tenant}/runs"), KEY).await;
    assert!(answer.contains("Parcel desk"), "{answer}");
}
