//! The scheduler's port, which stays the cluster's while no scheduler runs.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

use crate::Error;

/// A port of loopback that nobody else is given for as long as this value lives.
///
/// It is bound and never listens: whoever connects is refused, and a scheduler, which like most servers asks to reuse
/// its address, may listen there. A scheduler that was killed can so be started again at its address, however many
/// other processes ask for a free port in the meantime.
#[derive(Debug)]
pub(crate) struct HeldPort {
    number: u16,
    _socket: Option<TcpSocket>,
}

impl HeldPort {
    /// Takes a port; 0 stands for one that is free.
    pub(crate) fn take(number: u16) -> Result<Self, Error> {
        check(number)?;
        // Only Linux lets two sockets share an address of which just one listens.
        if !cfg!(target_os = "linux") {
            return Ok(Self { number, _socket: None });
        }
        let bind = || {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, number)))?;
            Ok((socket.local_addr()?.port(), socket))
        };
        let (number, socket) = bind().map_err(|error| failure(number, error))?;
        Ok(Self { number, _socket: Some(socket) })
    }

    /// Its number; 0 where ports cannot be held: the scheduler then finds a free one itself.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

/// Fails if another process listens on a port of loopback.
pub(crate) fn check(number: u16) -> Result<(), Error> {
    if number == 0 {
        return Ok(());
    }
    match std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, number)) {
        Ok(_) => Ok(()),
        Err(error) => Err(failure(number, error)),
    }
}

fn failure(port: u16, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => Error::PortTaken { port },
        _ => Error::io(format!("listen on port {port} of 127.0.0.1"))(error),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_refuses_connections_until_somebody_listens_there() {
        let held = HeldPort::take(0).unwrap();
        let place = (Ipv4Addr::LOCALHOST, held.number());
        let refused = std::net::TcpStream::connect(place).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        for _ in 0..2 {
            let listener = std::net::TcpListener::bind(place).unwrap();
            std::net::TcpStream::connect(place).unwrap();
            assert!(matches!(HeldPort::take(held.number()), Err(Error::PortTaken { .. })));
            drop(listener);
        }
    }
}
