//! A mistake is one clear sentence, and nothing is installed by halves.

use serde_json::json;

use crate::{
    cluster::{apply, get, kubectl, output, try_kubectl},
    helm::chart,
};

/// A namespace beside the platform's, with the demands of the platform's.
struct Elsewhere(&'static str);

impl Elsewhere {
    fn new() -> Self {
        let name = "platform-mistakes";
        apply(&json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
        }));
        crate::cluster::eventually("its service account", std::time::Duration::from_secs(20), || {
            try_kubectl(&["--namespace", name, "get", "serviceaccount", "default"]).ok()
        });
        Self(name)
    }

    /// What `helm install` complains about; it installs nothing.
    fn refusal(&self, name: &str, arguments: &[&str]) -> String {
        let helm = std::env::var("HELM").unwrap();
        let mut command = std::process::Command::new(helm);
        command.args(["install", name, &chart(name), "--namespace", self.0]).args(arguments);
        let complaint = output(&mut command).expect_err("helm install should refuse");
        let kinds = "deployments,services,secrets,configmaps,networkpolicies";
        let left = get(&["--namespace", self.0, kinds, "--selector", "app.kubernetes.io/part-of=platform"]);
        assert_eq!(left["items"], json!([]), "{name} is half installed");
        complaint
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = try_kubectl(&["delete", "namespace", self.0, "--wait=false"]);
    }
}

#[test]
#[ignore = "needs an installed platform: make e2e"]
fn mistakes_are_told_before_anything_is_made() {
    let elsewhere = Elsewhere::new();
    for (chart, arguments, sentence) in [
        ("auth-api", vec!["--set", "replica=3"], "additional properties 'replica' not allowed"),
        ("auth-api", vec!["--set", "issuer=http://localhost:8000/"], "issuer"),
        (
            "auth-api",
            vec![],
            "The Secret auth-api-database is missing in namespace platform-mistakes. Create it: kubectl",
        ),
        (
            "chat-api",
            vec![],
            "The Secret mozaiks-client-chat-api-service is missing in namespace platform-mistakes. Create it: install charts/auth-api first",
        ),
        ("oauth-relay", vec!["--set", "replicas=2"], "oauth-relay runs as one replica"),
        ("chat-api", vec!["--set", "client.existingSecret=x"], "The Secret x is missing"),
    ] {
        let complaint = elsewhere.refusal(chart, &arguments);
        assert!(complaint.contains(sentence), "{chart} {arguments:?}: {complaint}");
        println!("{}", complaint.lines().last().unwrap_or_default());
    }
}

/// The same namespace, where auth-api says how it issues.
#[test]
#[ignore = "needs an installed platform: make e2e"]
fn a_wrong_issuer_is_told_at_once() {
    let before = kubectl(&["get", "deployment", "chat-api", "--output", "jsonpath={.metadata.generation}"]);
    let wrong = "issuer=https://elsewhere.example";
    let complaint =
        crate::helm::try_helm(&["upgrade", "chat-api", &chart("chat-api"), "--reuse-values", "--set", wrong])
            .expect_err("helm upgrade should refuse");
    assert!(
        complaint.contains("issuer is https://elsewhere.example, but auth-api in namespace"),
        "{complaint}"
    );
    let after = kubectl(&["get", "deployment", "chat-api", "--output", "jsonpath={.metadata.generation}"]);
    assert_eq!(before, after);
}
