//! How many connections each address has.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Of how many parts of the connections one address has at most one. Half: a proxy, or a node through which many others
/// come, is one address, too; and whoever takes all that it can get leaves room for others.
const PARTS: usize = 2;

/// The bits of an IPv6 address that name a network; a client of it has all that follow.
const NETWORK: u128 = !0 << 64;

/// Counts connections by address, so that none takes all of them.
#[derive(Debug, Clone)]
pub(super) struct ConnectionShares {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
}

/// One connection of an address, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl ConnectionShares {
    /// Shares of so many connections.
    pub(super) fn new(connections: usize) -> Self {
        Self { open: Arc::default(), most: connections.div_ceil(PARTS) }
    }

    /// A seat for a connection from an address; `None` where that has its share.
    pub(super) fn take(&self, address: IpAddr) -> Option<Seat> {
        let address = client(address);
        let mut open = lock(&self.open);
        let count = open.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Seat { open: Arc::clone(&self.open), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        if let Some(count) = open.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// What counts as one client.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
        address @ IpAddr::V4(_) => address,
    }
}

fn lock(open: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    // Every change is one of a number, so what a panic left behind is whole.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn address_with_its_share_leaves_the_rest_to_others() {
        let shares = ConnectionShares::new(5);
        let mut held: Vec<_> = (0..3).map(|_| shares.take(address("10.0.0.1")).unwrap()).collect();
        assert!(shares.take(address("10.0.0.1")).is_none());
        assert!(shares.take(address("::ffff:10.0.0.1")).is_none(), "the same, written in another way");
        let other = shares.take(address("10.0.0.2"));
        assert!(other.is_some());
        held.pop();
        assert!(shares.take(address("10.0.0.1")).is_some());
        drop((held, other));
        assert!(lock(&shares.open).is_empty(), "who has no connection is not remembered");
    }

    #[test]
    fn addresses_of_one_network_are_one_client() {
        let shares = ConnectionShares::new(2);
        let _held = shares.take(address("2001:db8:0:1::1")).unwrap();
        assert!(shares.take(address("2001:db8:0:1:ffff::2")).is_none());
        assert!(shares.take(address("2001:db8:0:2::1")).is_some());
    }
}
