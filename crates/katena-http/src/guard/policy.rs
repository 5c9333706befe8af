//! Which addresses, names and ports lie within somebody's own network.
//!
//! Sources: the IANA registries of special-purpose addresses (IPv4 and IPv6) and of special-use domain names; the
//! Fetch standard's list of bad ports; the clouds' pages on their metadata servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ports of services that speak no HTTP, as browsers refuse them.
const BAD_PORTS: [u16; 84] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103,
    104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514,
    515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723,
    2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// Ends of names that are never public.
const PRIVATE_ZONES: [&str; 17] = [
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "home.arpa",
    "arpa",
    "svc",
    "test",
    "invalid",
    "example",
    "onion",
    "alt",
];

pub(super) fn is_bad_port(port: u16) -> bool {
    BAD_PORTS.contains(&port)
}

/// Why a name may not be asked for; `name` is lower case, as the parser of addresses leaves it.
pub(super) fn name_fault(name: &str) -> Option<&'static str> {
    let name = name.trim_end_matches('.');
    if name.is_empty() {
        return Some("the address has no host");
    }
    let within =
        |zone: &str| name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if PRIVATE_ZONES.iter().any(|zone| within(zone)) {
        return Some("the host's name is one of a private network");
    }
    // Only a search list of the own network makes something of a name without a dot.
    (!name.contains('.')).then_some("the host's name is one of a private network")
}

/// Why an address may not be connected to.
pub(super) fn ip_fault(ip: IpAddr) -> Option<&'static str> {
    let public = match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    };
    (!public).then_some("the host's address is one of a private or special network")
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = match (a, b, c) {
        // This host, loopback, multicast, future use, broadcast.
        (0 | 127 | 224..=255, _, _) => true,
        (10, _, _) | (172, 16..=31, _) | (192, 168, _) => true,
        // Carriers' own networks; a cloud's metadata server is at 100.100.100.200.
        (100, 64..=127, _) => true,
        // Link-local, with most clouds' metadata servers.
        (169, 254, _) => true,
        // Protocol assignments, documentation, relays from IPv6, benchmarks.
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        _ => false,
    };
    // Azure's own server within each machine's network.
    !special && ip != Ipv4Addr::new(168, 63, 129, 16)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let v4 = |high: u16, low: u16| is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match ip.segments() {
        // An IPv4 address in another form; translated; tunnelled by its second and third group.
        [0, 0, 0, 0, 0, 0xffff, high, low] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        // Protocol assignments with Teredo, documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // A tunnel within a site.
        [.., 0 | 0x200, 0x5efe, high, low] if !v4(high, low) => false,
        // Addresses of the whole world; all else is local, special or not given out.
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}
