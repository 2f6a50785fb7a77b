//! Which addresses are on the public net.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether anybody may be told what is at `address`: it is nobody's own machine or network, and no way to one.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let reserved = match address.octets() {
        // This network; carriers' networks (RFC 6598); protocol assignments; 6to4's old relays; test benches.
        [0, ..] => true,
        [100, 64..=127, ..] => true,
        [192, 0, 0, _] => true,
        [192, 88, 99, _] => true,
        [198, 18 | 19, ..] => true,
        // Multicast, and what is kept for the future.
        [224..=255, ..] => true,
        _ => false,
    };
    !(reserved
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_broadcast())
}

/// Only the part of IPv6 that is given out (`2000::/3`), without what leads into other networks.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Teredo, benchmarks, ORCHID and other protocols: 2001::/23.
        [0x2001, 0..=0x1ff, ..] => false,
        // Documentation.
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // 6to4: an IPv4 address inside.
        [0x2002, ..] => false,
        [0x2000..=0x3fff, ..] => true,
        // Loopback, mapped and compatible IPv4, NAT64, ULA, link-local, site-local, multicast, and the rest.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_net_is_public() {
        for public in ["1.1.1.1", "8.8.8.8", "100.63.0.1", "172.32.0.1", "223.255.255.1", "2606:4700::1111"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for own in ["::", "::1", "::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::808:808", "64:ff9b:1::1", "fc00::1"]
        {
            assert!(!is_public(own.parse().unwrap()), "{own}");
        }
        for own in
            ["fe80::1", "fec0::1", "ff02::1", "2002:a00:1::", "2001::1", "2001:db8::1", "100::1", "5f00::1"]
        {
            assert!(!is_public(own.parse().unwrap()), "{own}");
        }
    }
}
