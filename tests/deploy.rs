//! What stands in `deploy/` fits the program: the manifests fit each other, and what they give the pods
//! makes a cluster that the probes find ready.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "cluster/certificates.rs"]
mod certificates;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "cluster/process.rs"]
mod process;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use certificates::certify;
use process::{FRAUD, Process, free_addresses, generate, get, wait_until};

/// Where the pods have their settings and certificates, and where they write.
const FOLDERS: [&str; 2] = ["/etc/thalweg", "/var/lib/thalweg"];

fn text(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// The one document of a file.
fn manifest(name: &str) -> Value {
    let text = text(&format!("kubernetes/{name}.yaml"));
    Value::deserialize(serde_yaml_ng::Deserializer::from_str(&text)).unwrap()
}

/// The settings file of the pods.
fn settings() -> String {
    let config = manifest("config");
    let settings = config["data"]["settings.toml"].as_str();
    settings.unwrap().to_owned()
}

fn container() -> Value {
    manifest("statefulset")["spec"]["template"]["spec"]["containers"][0].clone()
}

/// The path that a probe asks for.
fn probed(container: &Value, probe: &str) -> String {
    let asked = &container[probe]["httpGet"];
    assert_eq!(asked["port"], "admin");
    asked["path"].as_str().unwrap().to_owned()
}

#[test]
fn the_manifests_fit_each_other() {
    let (set, service) = (manifest("statefulset"), manifest("service"));
    let settings: toml::Table = settings().parse().unwrap();
    let (spec, cluster) = (&set["spec"], &settings["cluster"]);
    assert_eq!(spec["replicas"].as_i64(), cluster["processes"].as_integer());
    let name = |of: &Value| of["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(spec["serviceName"], name(&service));
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);

    let labels = &spec["template"]["metadata"]["labels"];
    assert_eq!(&spec["selector"]["matchLabels"], labels);
    assert_eq!(&service["spec"]["selector"], labels);
    let budget = manifest("disruption-budget");
    assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);

    let container = container();
    let port = |of: &str| {
        let mut ports = container["ports"].as_array().unwrap().iter();
        ports.find(|port| port["name"] == of).unwrap()["containerPort"].to_string()
    };
    let hosts = format!("{}-{{}}.{}:{}", name(&set), name(&service), port("cluster"));
    assert_eq!(cluster["hosts"].as_str().unwrap(), hosts);
    let everywhere = |port: String| format!("0.0.0.0:{port}");
    assert_eq!(
        cluster["listen"].as_str().unwrap(),
        everywhere(port("cluster"))
    );
    let admin = &settings["admin"]["address"];
    assert_eq!(admin.as_str().unwrap(), everywhere(port("admin")));

    // The image's user is that of the pods, and what its program is built with is there.
    let dockerfile = text("docker/Dockerfile");
    let user = &spec["template"]["spec"]["securityContext"]["runAsUser"];
    assert!(dockerfile.contains(&format!("\nUSER {user}:{user}\n")));
    let package: toml::Table = include_str!("../pipelines/Cargo.toml").parse().unwrap();
    let (_, features) = dockerfile.split_once("--features ").unwrap();
    for feature in features.split_whitespace().next().unwrap().split(',') {
        assert!(package["features"].get(feature).is_some(), "{feature}");
    }
}

#[test]
fn what_the_pods_are_given_makes_a_cluster_that_gets_ready_and_ends_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let log = generate(folder, 2_000);
    let set = manifest("statefulset");
    let processes = set["spec"]["replicas"].as_u64().unwrap() as usize;
    let pods: Vec<_> = (0..processes).map(|pod| format!("fraud-{pod}")).collect();
    let owner = |pod: usize| format!("process-{pod}.fraud.thalweg.internal");
    let owners: Vec<_> = (0..processes).map(owner).collect();
    let names = pods.iter().zip(&owners);
    let names: Vec<_> = names.map(|(pod, owner)| (&**pod, &**owner)).collect();
    certify(&folder.join("certificates"), &names);
    // Folders, topics and addresses are here others than there.
    let path = folder.to_str().unwrap();
    let here = |text: &str| {
        FOLDERS
            .iter()
            .fold(text.to_owned(), |text, of| text.replace(of, path))
    };
    fs::write(folder.join("settings.toml"), here(&settings())).unwrap();
    let (hosts, admins) = (free_addresses(processes), free_addresses(processes));
    let all: Vec<_> = hosts.iter().map(ToString::to_string).collect();

    let container = container();
    let command = |pod: usize| {
        let mut command = Command::new(FRAUD);
        let arguments = container["args"].as_array().unwrap().iter();
        command.args(arguments.map(|argument| here(argument.as_str().unwrap())));
        for variable in container["env"].as_array().unwrap() {
            let name = variable["name"].as_str().unwrap();
            match variable["value"].as_str() {
                Some(value) => command.env(name, here(value).replace("$(POD_NAME)", &pods[pod])),
                None => command.env(name, "a-token-of-sixteen-letters"),
            };
        }
        command.env("HOSTNAME", &pods[pod]);
        command.env("THALWEG_HOSTS", all.join(","));
        command.env("THALWEG_LISTEN", hosts[pod].to_string());
        command.env("THALWEG_ADMIN", admins[pod].to_string());
        command.env("THALWEG_CHECKPOINT", folder.join("checkpoints"));
        command.env("THALWEG_OUT", folder.join(&pods[pod]));
        command.envs([("THALWEG_SOURCE", "log"), ("THALWEG_SINK", "file")]);
        command.env("THALWEG_LOG", &log);
        command
    };
    let start = |pod| Process::spawn(&mut command(pod), folder, &pods[pod]);
    let all: Vec<_> = (0..processes).map(start).collect();
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let path = probed(&container, probe);
        for (process, admin) in all.iter().zip(&admins) {
            wait_until(&format!("{path} is well: {}", process.said()), || {
                get(*admin, &path, "").is_some_and(|(status, _)| status == 200)
            });
        }
    }
    all.iter().for_each(|process| process.signal("TERM"));
    for process in all {
        process.ends_with(0, "");
    }
}
