//! Whose request it is: the address of the caller, behind proxies that are believed.

use std::net::{IpAddr, Ipv6Addr};

use actix_web::HttpRequest;
use ipnet::IpNet;

/// The proxies whose `X-Forwarded-For` is believed.
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// These networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// The caller's address: the last one in the chain that is not a proxy of ours.
    pub fn client_of(&self, request: &HttpRequest) -> Option<IpAddr> {
        let peer = request.peer_addr()?.ip();
        // A line that cannot be read ends the chain like any other nonsense.
        let lines =
            request.headers().get_all("x-forwarded-for").map(|line| line.to_str().unwrap_or_default());
        let chain: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
        Some(self.client(peer, &chain))
    }

    fn client(&self, peer: IpAddr, chain: &[&str]) -> IpAddr {
        let mut client = peer.to_canonical();
        for said in chain.iter().rev() {
            let is_ours = self.0.iter().any(|network| network.contains(&client));
            let Some(next) = said.parse::<IpAddr>().ok().filter(|_| is_ours) else { break };
            client = next.to_canonical();
        }
        client
    }
}

/// The part of an address that one household has: all of IPv4, the first half of IPv6.
pub(super) fn household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{http::header::HeaderValue, test::TestRequest};

    use super::*;

    fn client(peer: &str, chain: &[&str]) -> String {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        proxies.client(peer.parse().unwrap(), chain).to_string()
    }

    #[test]
    fn only_proxies_are_believed_and_only_from_the_right() {
        assert_eq!(client("203.0.113.5", &["198.51.100.1"]), "203.0.113.5");
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["1.2.3.4", "198.51.100.1", "10.0.0.2"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["1.2.3.4", "nonsense"]), "10.0.0.1");
        assert_eq!(client("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_not_passed_over() {
        let unreadable = HeaderValue::from_bytes(b"\xff").unwrap();
        let request = TestRequest::default()
            .peer_addr("10.0.0.1:80".parse().unwrap())
            .append_header(("x-forwarded-for", "198.51.100.1"))
            .append_header(("x-forwarded-for", unreadable))
            .to_http_request();
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(proxies.client_of(&request).unwrap().to_string(), "10.0.0.1");
    }

    #[test]
    fn an_ipv6_household_is_one() {
        let household = |text: &str| super::household(text.parse().unwrap()).to_string();
        assert_eq!(household("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(household("203.0.113.5"), "203.0.113.5");
    }
}
