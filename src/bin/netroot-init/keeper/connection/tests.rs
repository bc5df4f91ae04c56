//! The keeper against servers on loopback that say little, and a reader that takes everything.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpListener;

use netrootfs::image::mac::Mac;

use super::*;
use crate::reader::Counts;

/// A reader that says what it is told to, and takes everything.
#[derive(Default)]
struct Told {
    answered: Cell<u64>,
    taken: Cell<usize>,
}

impl Reader for Told {
    fn replace(&self, _: &TcpStream) -> io::Result<()> {
        self.taken.set(self.taken.get() + 1);
        Ok(())
    }

    fn counts(&self) -> Counts {
        Counts { answered: self.answered.get(), waiting: 1 }
    }
}

/// An NBD server that lets so many clients open an empty disc of 512 bytes, and a disk that is read from `hanging`, which
/// says nothing.
fn hanging_and_another(clients: usize) -> (Kept<Told>, SocketAddrV4) {
    let (hanging, another) = (listener(), listener());
    let servers = vec![address(&hanging), address(&another)];
    thread::spawn(move || (0..clients).for_each(|_| open(another.accept().unwrap().0)));
    let kept = Kept {
        sockets: vec![TcpStream::connect(servers[0]).unwrap()],
        server: servers[0],
        remote: RemoteDisk { servers: servers.clone(), export: String::new() },
        spread: Spread::of(Mac([2, 0, 0, 0, 0, 1])),
        size: 512,
        fingerprint: 0,
        reader: Told::default(),
    };
    let fingerprint = dial::dial(servers[1], "", dial::TALK_PATIENCE).unwrap().fingerprint;
    // It stays open, for whoever leaves it.
    std::mem::forget(hanging);
    (Kept { fingerprint, ..kept }, servers[1])
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn address(listener: &TcpListener) -> SocketAddrV4 {
    SocketAddrV4::new([127, 0, 0, 1].into(), listener.local_addr().unwrap().port())
}

fn open(mut client: TcpStream) {
    client.write_all(b"NBDMAGICIHAVEOPT\0\x03").unwrap();
    client.read_exact(&mut [0; 4 + 16 + 8]).unwrap();
    let head = |kind: u32, len: u32| {
        [
            &0x0003_e889_0455_65a9_u64.to_be_bytes()[..],
            &7_u32.to_be_bytes(),
            &kind.to_be_bytes(),
            &len.to_be_bytes(),
        ]
        .concat()
    };
    let info = [&[0, 0][..], &512_u64.to_be_bytes(), &[0, 3]].concat();
    client.write_all(&[head(3, 12), info, head(1, 0)].concat()).unwrap();
    std::mem::forget(client);
}

fn is_open(mut socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).unwrap();
    socket.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn a_server_that_hangs_is_left_for_one_that_answers() {
    let (mut kept, another) = hanging_and_another(2);
    let old = kept.sockets[0].try_clone().unwrap();
    kept.leave(0, None);
    assert_eq!(
        (kept.server, kept.reader.taken.get(), is_open(&old)),
        (another, ONE_NOTICED_AFTER.len(), false)
    );
}

#[test]
fn a_server_that_hangs_is_not_left_when_no_other_answers_or_it_does_meanwhile() {
    let (mut kept, another) = hanging_and_another(2);
    let hanging = kept.server;
    kept.reader.answered.set(7);
    kept.leave(6, None);
    assert_eq!((kept.server, kept.reader.taken.get(), is_open(&kept.sockets[0])), (hanging, 0, true));
    // Its one visitor was that of the fingerprint, and the other that one.
    kept.remote.servers.retain(|server| *server != another);
    kept.remote.servers.push(address(&listener()));
    kept.leave(7, None);
    assert_eq!((kept.server, kept.reader.taken.get(), is_open(&kept.sockets[0])), (hanging, 0, true));
}

#[test]
fn a_machine_goes_back_to_its_own_server_though_it_reads_all_the_while() {
    let (mut kept, home) = hanging_and_another(2);
    kept.remote.servers.reverse();
    kept.go_home(None);
    assert_eq!((kept.server, kept.reader.taken.get()), (home, ONE_NOTICED_AFTER.len()));
}

#[test]
fn words_name_all_servers_and_the_one_that_serves() {
    let words = [
        "mac=52:54:00:12:34:56",
        "nbd=10.0.0.1:10809,10.0.0.2:99",
        "serves=10.0.0.2:99",
        "export=a",
        "size=5",
        "fingerprint=0f",
    ];
    let kept = Kept::from_words(&words.map(str::to_owned)).unwrap();
    assert_eq!(kept.remote.servers.len(), 2);
    assert_eq!((kept.server, kept.fingerprint), (kept.remote.servers[1], 15));
}
