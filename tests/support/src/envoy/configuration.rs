//! Configurations for the Envoy of a test: docker/envoy.yaml, on loopback alone, and what may be
//! wrong with it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Stage, Xds};
use crate::project;

/// A configuration of one stage.
#[derive(Clone, Debug)]
#[must_use]
pub struct Configuration {
    text: String,
}

impl Configuration {
    /// The example's, with the stage's ports and the folder of its log as Envoy sees it.
    pub(super) fn example(ingress: u16, admin: &str, log_folder: &Path) -> Self {
        let text = fs::read_to_string(project().join("docker/envoy.yaml")).expect("an example");
        Self { text }
            .replace("0.0.0.0, port_value: 10000", &format!("127.0.0.1, port_value: {ingress}"))
            .replace("socket_address: { address: 127.0.0.1, port_value: 9901 }", admin)
            .replace("path: /var/log/envoy/", &format!("path: {}/", log_folder.display()))
    }

    fn replace(self, old: &str, new: &str) -> Self {
        assert_eq!(self.text.matches(old).count(), 1, "docker/envoy.yaml has exactly one `{old}`");
        Self { text: self.text.replace(old, new) }
    }

    /// One that answers with these words.
    pub fn saying(self, words: &str) -> Self {
        self.replace("served by Envoy, started by hot-restarter\\n", words)
    }

    /// One that Envoy refuses before it reads on.
    pub fn with_an_unknown_field(mut self) -> Self {
        self.text.push_str("\nno_field_of_envoy: 1\n");
        self
    }

    /// One with a second listener, on this port. That it is taken no validation finds out.
    pub fn with_a_listener_on(self, port: u16) -> Self {
        let listener = format!(
            r#"  listeners:
    - name: second
      address:
        socket_address: {{ address: 127.0.0.1, port_value: {port} }}
      filter_chains:
        - filters:
            - name: envoy.filters.network.echo
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo
"#
        );
        self.replace("  listeners:\n", &listener)
    }

    /// One with a second listener, at a port that is free, whose certificate is missing.
    pub fn with_a_missing_certificate(self) -> Self {
        let listener = r#"  listeners:
    - name: secret
      address:
        socket_address: { address: 127.0.0.1, port_value: 0 }
      filter_chains:
        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context:
                tls_certificates:
                  - certificate_chain: { filename: /nowhere/certificate.pem }
                    private_key: { filename: /nowhere/key.pem }
          filters:
            - name: envoy.filters.network.echo
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo
"#;
        self.replace("  listeners:\n", listener)
    }

    /// One that leads what is below `/upstream` to one upstream, and the bytes that come to a
    /// listener on this port to another. Both upstreams are ports of loopback.
    pub fn leading_to(self, http: u16, listener: u16, bytes: u16) -> Self {
        let cluster = |name, port| {
            format!(
                "    - name: {name}
      type: STATIC
      load_assignment:
        cluster_name: {name}
        endpoints:
          - lb_endpoints:
              - endpoint:
                  address:
                    socket_address: {{ address: 127.0.0.1, port_value: {port} }}
"
            )
        };
        let clusters = cluster("upstream", http) + &cluster("bytes", bytes);
        let listeners = format!(
            r#"  clusters:
{clusters}  listeners:
    - name: bytes
      address:
        socket_address: {{ address: 127.0.0.1, port_value: {listener} }}
      filter_chains:
        - filters:
            - name: envoy.filters.network.tcp_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                stat_prefix: bytes
                cluster: bytes
"#
        );
        let routes = "                      routes:\n";
        let more = "                        - match: { prefix: /upstream/ }
                          route: { cluster: upstream, timeout: 0s }\n";
        self.replace("  listeners:\n", &listeners).replace(routes, &format!("{routes}{more}"))
    }

    /// One whose clusters come from a server, for whose first answer Envoy waits without a bound.
    pub fn waiting_for(self, xds: &Xds) -> Self {
        let cluster = format!(
            "    - name: xds
      type: STATIC
      load_assignment:
        cluster_name: xds
        endpoints:
          - lb_endpoints:
              - endpoint:
                  address:
                    socket_address: {{ address: 127.0.0.1, port_value: {port} }}
",
            port = xds.port()
        );
        // One that leads to an upstream has a list of clusters already.
        let list = "  clusters:\n";
        let place = if self.text.contains(list) { list } else { "static_resources:\n" };
        let head = if place == list { place.to_owned() } else { format!("{place}{list}") };
        let mut with_cluster = self.replace(place, &(head + &cluster));
        with_cluster.text.push_str(
            "
node: { id: test, cluster: test }
dynamic_resources:
  cds_config:
    resource_api_version: V3
    initial_fetch_timeout: 0s
    api_config_source:
      api_type: REST
      transport_api_version: V3
      cluster_names: [xds]
      refresh_delay: 3600s
      request_timeout: 3600s
",
        );
        with_cluster
    }
}

impl Stage {
    /// Puts a configuration into the place of the one before, as an editor does: beside it first,
    /// and then by its name.
    pub fn put(&self, configuration: &Configuration) {
        self.put_file("config/envoy.yaml", &configuration.text);
    }

    /// The same as Kubernetes does it with a `ConfigMap`.
    pub fn put_as_config_map(&self, configuration: &Configuration) {
        put_as_config_map(&self.config_folder(), &configuration.text);
    }
}

/// Puts a text into a folder of its own below this one and has links lead to it, as Kubernetes
/// does with a `ConfigMap` of an `envoy.yaml`: the file leads through `..data`, which is renamed
/// over the one before.
pub fn put_as_config_map(folder: &Path, text: &str) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let before: Vec<_> = fs::read_dir(folder)
        .expect("the folder is ours")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("..2"))
        .map(|entry| entry.path())
        .collect();
    let stamp = format!("..2026_01_01_09_00_00.{}", COUNT.fetch_add(1, Ordering::Relaxed));
    fs::create_dir(folder.join(&stamp)).expect("ours");
    fs::write(folder.join(&stamp).join("envoy.yaml"), text).expect("ours");
    symlink(&stamp, folder.join("..data_tmp")).expect("ours");
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("ours");
    let config = folder.join("envoy.yaml");
    if !config.is_symlink() {
        let _ = fs::remove_file(&config);
        symlink("..data/envoy.yaml", config).expect("ours");
    }
    for old in before {
        fs::remove_dir_all(old).expect("ours");
    }
}
