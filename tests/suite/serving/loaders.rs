//! The loaders that the tests and the boot storm play, beside servers that lose, repeat and refuse.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::thread::JoinHandle;
use std::time::Instant;

use testkit::ports::local;
use testkit::process::PATIENCE;
use testkit::tftp::Loaders;

const ACK_2: [u8; 4] = [0, 4, 0, 2];

/// Of words that each end with a zero.
fn packet(code: u8, words: &[&str]) -> Vec<u8> {
    [0, code].into_iter().chain(words.iter().flat_map(|word| word.bytes().chain([0]))).collect()
}

/// A server's part in a conversation.
struct Server(UdpSocket);

impl Server {
    /// Somebody who does that once, and where.
    fn start(part: impl FnOnce(Self) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
        let socket = UdpSocket::bind(local(0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        (socket.local_addr().unwrap(), std::thread::spawn(move || part(Self(socket))))
    }

    fn hear(&self) -> (Vec<u8>, SocketAddr) {
        let mut packet = [0; 512];
        let (len, from) = self.0.recv_from(&mut packet).expect("a word");
        (packet[..len].to_vec(), from)
    }

    /// Hears a loader's request, and takes a port for it, as servers do.
    fn asked(&self) -> (Vec<u8>, Self) {
        let (request, loader) = self.hear();
        let socket = UdpSocket::bind(local(0)).unwrap();
        socket.connect(loader).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        (request, Self(socket))
    }

    fn say(&self, packet: &[u8]) {
        self.0.send(packet).unwrap();
    }

    fn block(&self, number: u8, len: usize) {
        self.say(&[&[0, 3, 0, number][..], &vec![number; len]].concat());
    }

    /// Waits until that is said, whatever else is.
    fn hears(&self, word: [u8; 4]) {
        while self.hear().0 != word {}
    }
}

/// What a loader has of a file, and how often it has said something again.
fn load(server: SocketAddr, window: u16) -> io::Result<(Vec<u8>, usize)> {
    let (mut bytes, mut loader) = (Vec::new(), Loaders::start(server, &["vmlinuz"], 1, window)?);
    loader.run(Instant::now() + PATIENCE, |block| {
        assert_eq!(block.offset, bytes.len() as u64);
        bytes.extend(block.data);
        Ok(())
    })?;
    assert_eq!(loader.fetched().len(), 1);
    Ok((bytes, loader.again()))
}

#[test]
fn a_loader_asks_for_blocks_of_1408_bytes_and_for_the_size() {
    let (address, server) = Server::start(|server| {
        let (request, server) = server.asked();
        assert_eq!(request, packet(1, &["vmlinuz", "octet", "tsize", "0", "blksize", "1408"]));
        server.say(&packet(6, &["BLKSIZE", "1408", "tsize", "1409"]));
        server.hears([0, 4, 0, 0]);
        server.block(1, 1408);
        server.hears([0, 4, 0, 1]);
        server.block(2, 1);
        server.hears(ACK_2);
    });
    assert_eq!(load(address, 1).unwrap().0, [vec![1; 1408], vec![2]].concat());
    server.join().unwrap();
}

#[test]
fn a_loader_says_again_what_nobody_heard_and_takes_a_block_once() {
    let (address, server) = Server::start(|server| {
        // The request is lost, the acknowledgement too, and what the other answer to the request says is nobody's.
        server.hear();
        let (_, server) = server.asked();
        server.block(1, 512);
        server.hears([0, 4, 0, 1]);
        server.hears([0, 4, 0, 1]);
        UdpSocket::bind(local(0)).unwrap().send_to(b"\0\x05\0\0no", server.0.peer_addr().unwrap()).unwrap();
        server.block(1, 512);
        server.block(2, 0);
        server.hears(ACK_2);
    });
    let (bytes, again) = load(address, 1).unwrap();
    assert_eq!(bytes, [1; 512]);
    assert!(again >= 2, "{again}");
    server.join().unwrap();
}

#[test]
fn a_loader_with_windows_acknowledges_them_whole_and_goes_back_to_what_is_missing() {
    let (address, server) = Server::start(|server| {
        let (request, server) = server.asked();
        assert!(request.ends_with(&packet(0, &["windowsize", "3"])[1..]));
        server.say(&packet(6, &["blksize", "512", "windowsize", "3"]));
        server.hears([0, 4, 0, 0]);
        for number in [1, 2, 3] {
            server.block(number, 512);
        }
        assert_eq!(server.hear().0, [0, 4, 0, 3]);
        // The fourth is lost.
        server.block(5, 512);
        server.block(6, 512);
        assert_eq!(server.hear().0, [0, 4, 0, 3]);
        server.block(4, 512);
        server.block(5, 100);
        server.hears([0, 4, 0, 5]);
    });
    assert_eq!(load(address, 3).unwrap().0.len(), 4 * 512 + 100);
    server.join().unwrap();
}

#[test]
fn a_loader_that_has_enough_says_so_and_takes_the_next_file() {
    let (address, server) = Server::start(|server| {
        for _ in 0..2 {
            let (_, server) = server.asked();
            server.block(1, 512);
            server.hears([0, 4, 0, 1]);
            server.block(2, 512);
            while server.hear().0 != *b"\0\x05\0\0enough\0" {}
        }
    });
    let mut loader = Loaders::start(address, &["vmlinuz", "initrd"], 1, 1).unwrap().only(1000);
    loader.run(Instant::now() + PATIENCE, |_| Ok(())).unwrap();
    assert_eq!(loader.fetched().len(), 1);
    server.join().unwrap();
}

#[test]
fn a_loader_says_why_it_was_refused() {
    let (address, server) = Server::start(|server| {
        let (_, server) = server.asked();
        server.say(b"\0\x05\0\x01File not found\0");
    });
    let error = load(address, 1).unwrap_err().to_string();
    assert!(error.contains("vmlinuz") && error.contains("File not found"), "{error}");
    server.join().unwrap();
}
