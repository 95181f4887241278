//! Where callers are: the address of each, behind proxies that are believed, and the network that it counts as.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use ipnet::IpNet;

/// A part of the network that one attacker has at hand at once: a /24 of IPv4, a /56 of IPv6 (what a household gets).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// The text is no list of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it holds something else than addresses and networks")]
pub struct InvalidProxies;

const IPV4_BITS: u8 = 24;
const IPV6_BITS: u8 = 56;

impl Network {
    /// The network of an address. Callers without one share one.
    pub fn of(address: Option<IpAddr>) -> Self {
        let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()).to_canonical();
        let bits = if address.is_ipv4() { IPV4_BITS } else { IPV6_BITS };
        Self(IpNet::new(address, bits).unwrap_or(address.into()).trunc())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TrustedProxies {
    /// The caller's address: of the chain that ends with the peer, the last one that is not a proxy of ours. What is no address ends
    /// the chain.
    pub fn caller<'a>(&self, peer: IpAddr, chain: impl DoubleEndedIterator<Item = &'a str>) -> IpAddr {
        let mut caller = peer.to_canonical();
        for said in chain.rev() {
            let is_ours = self.0.iter().any(|network| network.contains(&caller));
            let Some(next) = said.trim().parse::<IpAddr>().ok().filter(|_| is_ours) else { break };
            caller = next.to_canonical();
        }
        caller
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for TrustedProxies {
    type Err = InvalidProxies;

    fn from_str(text: &str) -> Result<Self, InvalidProxies> {
        let networks = text.split(',').map(str::trim).filter(|network| !network.is_empty());
        let parse = |text: &str| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        networks.map(parse).collect::<Result<_, _>>().map(Self).map_err(|_| InvalidProxies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(peer: &str, chain: &[&str]) -> String {
        let proxies: TrustedProxies = "10.0.0.0/8, ::1".parse().unwrap();
        proxies.caller(peer.parse().unwrap(), chain.iter().copied()).to_string()
    }

    #[test]
    fn p12_only_proxies_are_believed_and_only_from_the_right() {
        assert_eq!(caller("203.0.113.5", &["198.51.100.1"]), "203.0.113.5");
        assert_eq!(caller("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(caller("10.0.0.1", &["1.2.3.4", " 198.51.100.1 ", "10.0.0.2"]), "198.51.100.1");
        assert_eq!(caller("10.0.0.1", &["1.2.3.4", "nonsense", "10.0.0.2"]), "10.0.0.2");
        assert_eq!(caller("10.0.0.1", &["1.2.3.4", ""]), "10.0.0.1");
        assert_eq!(caller("::ffff:10.0.0.1", &["::ffff:198.51.100.1"]), "198.51.100.1");
        assert_eq!(caller("::1", &["10.1.1.1"]), "10.1.1.1");
        assert_eq!(caller("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn neighbours_are_one_network() {
        let network = |text: &str| Network::of(text.parse().ok()).to_string();
        assert_eq!(network("203.0.113.5"), "203.0.113.0/24");
        assert_eq!(network("::ffff:203.0.113.77"), "203.0.113.0/24");
        assert_eq!(network("2001:db8:1:2ff:3:4:5:6"), "2001:db8:1:200::/56");
        assert_eq!(network("nowhere"), "0.0.0.0/24");
    }

    #[test]
    fn a_list_holds_addresses_and_networks_only() {
        assert_eq!(TrustedProxies::default(), "".parse().unwrap());
        for text in ["somewhere", "10.0.0.0/33", "10.0.0.1;10.0.0.2", "10.0.0.1, *"] {
            assert_eq!(text.parse::<TrustedProxies>(), Err(InvalidProxies), "{text}");
        }
    }
}
