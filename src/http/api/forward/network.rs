//! Networks of proxies, as CIDR.

use std::net::IpAddr;
use std::str::FromStr;

/// Addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProxyNetwork {
    first: IpAddr,
    prefix: u32,
}

const fn width(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// Returns the first bits of an address, the others zero.
fn bits(address: IpAddr, prefix: u32) -> u128 {
    let whole = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let rest = width(address).saturating_sub(prefix);
    whole.checked_shr(rest).and_then(|first| first.checked_shl(rest)).unwrap_or(0)
}

impl ProxyNetwork {
    /// Returns whether an address lies in it. One of IPv4 that is written as IPv6 is that of IPv4.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && bits(address, self.prefix) == bits(self.first, self.prefix)
    }
}

impl FromStr for ProxyNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(60).collect();
        let expected = || format!("{shown:?}: expected an address or a network such as 10.0.0.5 or 10.1.0.0/16");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let first: IpAddr = address.parse().map_err(|_| expected())?;
        if first != first.to_canonical() {
            return Err(format!("{shown:?}: write it as an address of IPv4"));
        }
        let prefix = match prefix {
            None => width(first),
            Some(prefix) if prefix.bytes().all(|digit| digit.is_ascii_digit()) => {
                prefix.parse().ok().filter(|prefix| *prefix <= width(first)).ok_or_else(expected)?
            }
            Some(_) => return Err(expected()),
        };
        match prefix {
            0 => Err(format!("{shown:?} holds every address: anybody could say who they are; name the proxies")),
            _ if bits(first, prefix) != bits(first, width(first)) => {
                Err(format!("{shown:?}: the address has bits beyond /{prefix}; write the network's first address"))
            }
            _ => Ok(Self { first, prefix }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_own_addresses() {
        for (network, inside, outside) in [
            ("10.1.0.0/16", vec!["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3"], vec!["10.2.0.0", "::1", "::10.1.0.0"]),
            ("192.0.2.7", vec!["192.0.2.7"], vec!["192.0.2.6", "192.0.2.8"]),
            ("128.0.0.0/1", vec!["255.255.255.255"], vec!["127.255.255.255"]),
            ("fd00::/8", vec!["fd12::1", "fdff:ffff::"], vec!["fe00::", "10.0.0.1"]),
            ("::1", vec!["::1"], vec!["::2", "127.0.0.1"]),
        ] {
            let network: ProxyNetwork = network.parse().unwrap();
            assert!(inside.iter().all(|address| network.holds(address.parse().unwrap())), "{network:?}");
            assert!(!outside.iter().any(|address| network.holds(address.parse().unwrap())), "{network:?}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0/8",
            "proxy",
            "0.0.0.0/0",
            "::/0",
            "10.1.2.3/16",
            "::ffff:10.0.0.1",
            "fd00::1/8",
            " 10.0.0.1",
        ] {
            assert!(text.parse::<ProxyNetwork>().is_err(), "{text}");
        }
    }
}
