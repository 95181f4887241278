//! The way back to the release before.

use crate::{
    cluster::{get, kubectl, pods, rolled_out},
    helm::{chart, helm},
    installation::logged_in,
    stack,
};

/// The services with a schema, and their databases.
const DATABASES: [(&str, &str); 2] = [("auth-api", "auth_api"), ("oauth-integrations", "oauth_integrations")];

fn sql(database: &str, statement: &str) -> String {
    let psql = ["exec", "postgres-0", "--", "psql", "--username", "postgres", "--no-psqlrc", "--quiet"];
    let rest = ["--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", "--dbname", database, "--command"];
    kubectl(&[&psql[..], &rest, &[statement]].concat())
}

/// A schema that a later release has left: another column, and its line in the history.
struct NewerSchema(&'static str);

impl NewerSchema {
    fn new(database: &'static str) -> Self {
        sql(database, "ALTER TABLE audit ADD COLUMN of_tomorrow text");
        sql(
            database,
            "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
             SELECT 999, 'of_tomorrow', applied_on, checksum FROM refinery_schema_history WHERE version = 1",
        );
        Self(database)
    }
}

impl Drop for NewerSchema {
    fn drop(&mut self) {
        sql(self.0, "DELETE FROM refinery_schema_history WHERE version = 999");
        sql(self.0, "ALTER TABLE audit DROP COLUMN of_tomorrow");
    }
}

#[test]
#[ignore = "needs an installed platform: make e2e"]
fn an_older_binary_starts_on_a_newer_schema() {
    for (service, database) in DATABASES {
        let newer = ["--set", "podAnnotations.release=newer", "--reuse-values", "--wait", "--timeout", "3m"];
        helm(&[&["upgrade", service, &chart(service)], &newer[..]].concat());
        // helm is content while the last pod of the release before is still there.
        rolled_out(service);
        let schema = NewerSchema::new(database);
        let of_the_newer = pods(service);
        helm(&["rollback", service, "--wait", "--timeout", "3m"]);
        rolled_out(service);
        let of_the_older = pods(service);
        assert!(!of_the_older.is_empty());
        for pod in &of_the_older {
            assert!(!of_the_newer.contains(pod), "{pod} was not rolled back");
            let status = get(&["pod", pod]);
            assert_eq!(status["status"]["containerStatuses"][0]["restartCount"], 0, "{pod} did not start");
        }
        let versions = sql(database, "SELECT max(version) FROM refinery_schema_history");
        assert_eq!(versions, "999", "the older release changed the history");
        drop(schema);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The forwards find the new pods by and by.
    assert!(!runtime.block_on(logged_in(&stack(), 60)).is_empty());
}
