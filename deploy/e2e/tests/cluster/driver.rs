//! The driver in a pod of its own, inside the cluster and beside the services.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    cluster::{apply, eventually, get, kubectl, try_kubectl},
    helm::services,
    stack,
};

/// A driver that was started; deleted with the value.
pub(crate) struct Driver {
    name: String,
}

impl Driver {
    /// Starts it with the credentials of a client, and Alice's.
    pub(crate) fn start(client_id: &str, arguments: &[&str]) -> Self {
        let settings = stack().settings;
        let name = format!("driver-{}", &Uuid::new_v4().simple().to_string()[..8]);
        let secret = |variable: &str, key: &str| {
            let secret = json!({ "name": format!("mozaiks-client-{client_id}"), "key": key });
            json!({ "name": variable, "valueFrom": { "secretKeyRef": secret } })
        };
        let variable = |name: &str, value: &str| json!({ "name": name, "value": value });
        let has_integrations = services().iter().any(|name| name == "oauth-integrations");
        let integrations = if has_integrations { "http://oauth-integrations:8010" } else { "" };
        apply(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "labels": { "app.kubernetes.io/name": "driver" } },
            "spec": {
                "restartPolicy": "Never", "automountServiceAccountToken": false, "enableServiceLinks": false,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" }
                },
                "containers": [{
                    "name": "driver", "image": std::env::var("DRIVER_IMAGE").unwrap(), "imagePullPolicy": "IfNotPresent",
                    "args": arguments,
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                        "capabilities": { "drop": ["ALL"] }
                    },
                    "env": [
                        variable("AUTH_API_URL", "http://auth-api:8000"),
                        variable("CHAT_API_URL", "http://chat-api:8001"),
                        variable("OAUTH_INTEGRATIONS_URL", integrations),
                        variable("OAUTH_RELAY_URL", "http://oauth-relay:8020"),
                        variable("ALICE_EMAIL", &settings.alice.email),
                        variable("ALICE_PASSWORD", &settings.alice.password),
                        variable("GROUP_ID", &settings.group_id.to_string()),
                        secret("CLIENT_ID", "client_id"),
                        secret("CLIENT_SECRET", "client_secret"),
                    ],
                }],
            },
        }));
        let driver = Self { name };
        eventually("the driver runs", Duration::from_secs(30), || {
            (driver.phase() != "Pending").then_some(())
        });
        driver
    }

    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    pub(crate) fn phase(&self) -> String {
        get(&["pod", &self.name])["status"]["phase"].as_str().unwrap().to_owned()
    }

    /// What it has written.
    pub(crate) fn log(&self) -> String {
        kubectl(&["logs", &self.name])
    }

    /// Waits for its end and reads its report.
    pub(crate) fn report(&self, patience: Duration) -> Value {
        let phase = eventually("the driver ends", patience, || {
            let phase = self.phase();
            (phase == "Succeeded" || phase == "Failed").then_some(phase)
        });
        let log = self.log();
        assert_eq!(phase, "Succeeded", "{log}");
        serde_json::from_str(log.lines().last().unwrap()).unwrap_or_else(|_| panic!("no report: {log}"))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = try_kubectl(&["delete", "pod", &self.name, "--now", "--wait=false"]);
    }
}
