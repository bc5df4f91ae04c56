//! Messages written and read, whole, in pieces, overloaded and broken.

use proptest::prelude::*;

use super::*;

const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

fn question() -> Question {
    Question {
        kind: Kind::Discover,
        xid: 0x1234_5678,
        mac: MAC,
        secs: 3,
        own: [0; 4].into(),
        requested: None,
        server: None,
    }
}

/// The answer of a server, with these bytes for its options.
fn answer(options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 1, 6, 0, 0x12, 0x34, 0x56, 0x78];
    bytes.resize(16, 0);
    bytes.extend([10, 0, 2, 15, 10, 0, 2, 3]);
    bytes.resize(28, 0);
    bytes.extend(MAC.0);
    bytes.resize(FIXED, 0);
    bytes.extend(COOKIE);
    bytes.extend(options);
    bytes
}

fn parse(options: &[u8]) -> Option<Answer> {
    Answer::parse(&answer(options), &question())
}

fn lease(options: &[u8]) -> Lease {
    parse(&[&[53, 1, 5], options].concat()).unwrap().lease().unwrap()
}

#[test]
fn a_question_is_a_whole_message() {
    let bytes = question().encode();
    assert_eq!(bytes.len(), SHORTEST);
    assert_eq!(bytes[..12], [1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 3, 0x80, 0]);
    assert_eq!(bytes[28..34], MAC.0);
    assert_eq!(bytes[236..243], [99, 130, 83, 99, 53, 1, 1]);
}

#[test]
fn a_request_names_address_and_server() {
    let request = Question {
        kind: Kind::Request,
        requested: Some([10, 0, 2, 15].into()),
        server: Some([10, 0, 2, 2].into()),
        ..question()
    };
    let bytes = request.encode();
    let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(has(&[53, 1, 3]) && has(&[50, 4, 10, 0, 2, 15]) && has(&[54, 4, 10, 0, 2, 2]));
    // With an address of its own it hears what is sent to that.
    let renewal = Question { own: [10, 0, 2, 15].into(), ..question() }.encode();
    assert_eq!(renewal[10..16], [0, 0, 10, 0, 2, 15]);
}

#[test]
fn an_answer_gives_what_a_machine_needs() {
    let options = [
        &[53, 1, 5, 1, 4, 255, 255, 254, 0, 3, 4, 10, 0, 2, 1, 6, 8, 9, 9, 9, 9, 8, 8, 8, 8][..],
        &[15, 4, b'l', b'a', b'n', 0, 26, 2, 5, 0xaa, 54, 4, 10, 0, 2, 2, 51, 4, 0, 0, 0x0e, 0x10, 255],
    ];
    let lease = parse(&options.concat()).unwrap().lease().unwrap();
    assert_eq!((lease.address.addr(), lease.address.prefix_len()), ([10, 0, 2, 15].into(), 23));
    assert_eq!(lease.gateway, Some([10, 0, 2, 1].into()));
    assert_eq!(lease.dns, [Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(8, 8, 8, 8)]);
    assert_eq!((lease.domain.as_deref(), lease.mtu), (Some("lan"), Some(1450)));
    assert_eq!(lease.boot_server, Some([10, 0, 2, 3].into()));
    let server = [10, 0, 2, 2].into();
    assert_eq!(lease.terms, Some(Terms { server, lease: 3600, renew: 1800, rebind: 3150 }));
}

#[test]
fn another_machines_answer_is_passed_over() {
    let good = answer(&[53, 1, 2, 255]);
    assert!(Answer::parse(&good, &question()).is_some());
    for at in [0, 1, 2, 4, 7, 28, 33, 236, 239] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert_eq!(Answer::parse(&bytes, &question()), None, "byte {at}");
    }
    for kind in [0, 1, 3, 4, 7, 255] {
        assert_eq!(parse(&[53, 1, kind, 255]), None, "kind {kind}");
    }
    assert_eq!(parse(&[255]), None);
}

#[test]
fn options_may_spill_into_the_fields_before_them() {
    let mut bytes = answer(&[53, 1, 5, 52, 1, 3, 255]);
    bytes[108..115].copy_from_slice(&[51, 4, 0, 0, 0, 60, 255]);
    bytes[44..51].copy_from_slice(&[54, 4, 10, 0, 2, 2, 255]);
    let terms = Answer::parse(&bytes, &question()).unwrap().lease().unwrap().terms.unwrap();
    assert_eq!((terms.lease, terms.server), (60, [10, 0, 2, 2].into()));
    // Without option 52 the same bytes are a file name.
    bytes.splice(240.., [53, 1, 5, 255]);
    assert_eq!(Answer::parse(&bytes, &question()).unwrap().lease().unwrap().terms, None);
}

#[test]
fn an_option_in_pieces_is_put_together() {
    assert_eq!(lease(&[6, 3, 9, 9, 9, 0, 6, 1, 9, 255]).dns, [Ipv4Addr::new(9, 9, 9, 9)]);
}

#[test]
fn bad_lengths_end_the_options_and_nothing_else() {
    assert_eq!(lease(&[6, 4, 9, 9, 9, 9, 3, 200, 1]).gateway, None);
    assert_eq!(lease(&[6, 4, 9, 9, 9, 9, 3]).dns.len(), 1);
    assert_eq!(lease(&[1, 3, 255, 255, 255, 3, 0, 51, 1, 9]).address.prefix_len(), 24);
    assert_eq!(lease(&[26, 2, 0, 68]).mtu, None);
    assert_eq!(lease(&[15, 3, b'a', b'\n', b'b']).domain, None);
    assert_eq!(lease(&[1, 4, 255, 0, 255, 0]).address.prefix_len(), 24);
}

#[test]
fn the_boot_server_has_several_names() {
    let mut bytes =
        answer(&[53, 1, 5, 54, 4, 10, 0, 2, 2, 66, 8, b'1', b'0', b'.', b'0', b'.', b'2', b'.', b'9', 255]);
    bytes[20..24].fill(0);
    let boot_server = |bytes: &[u8]| Answer::parse(bytes, &question()).unwrap().lease().unwrap().boot_server;
    assert_eq!(boot_server(&bytes), Some([10, 0, 2, 9].into()));
    bytes.splice(240.., [53, 1, 5, 54, 4, 10, 0, 2, 2, 150, 4, 10, 0, 2, 8, 255]);
    assert_eq!(boot_server(&bytes), Some([10, 0, 2, 8].into()));
    bytes.splice(240.., [53, 1, 5, 54, 4, 10, 0, 2, 2, 255]);
    assert_eq!(boot_server(&bytes), Some([10, 0, 2, 2].into()));
}

#[test]
fn times_out_of_order_are_put_right() {
    let times = |renew: u32, rebind: u32| {
        let number = |code: u8, value: u32| [&[code, 4][..], &value.to_be_bytes()].concat();
        let options = [number(51, 1000), number(58, renew), number(59, rebind), vec![54, 4, 10, 0, 2, 2]];
        let terms = lease(&options.concat()).terms.unwrap();
        (terms.renew, terms.rebind)
    };
    assert_eq!(times(5, 800), (5, 800));
    assert_eq!(times(900, 800), (500, 800));
    assert_eq!(times(900, 400), (400, 400));
    assert_eq!(times(5000, 5000), (500, 875));
    assert_eq!(lease(&[51, 4, 255, 255, 255, 255, 54, 4, 10, 0, 2, 2]).terms, None);
}

#[test]
fn an_address_for_no_machine_is_no_lease() {
    for address in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
        let mut bytes = answer(&[53, 1, 5, 255]);
        bytes[16..20].copy_from_slice(&address);
        assert_eq!(Answer::parse(&bytes, &question()).unwrap().lease(), None);
    }
}

#[test]
fn a_refusal_has_words() {
    let answer = parse(&[53, 1, 6, 56, 2, b'n', b'o', 255]).unwrap();
    assert_eq!((answer.kind, answer.text().as_deref()), (Kind::Nak, Some("no")));
}

proptest! {
    #[test]
    fn any_packet_is_read_to_the_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Answer::parse(&bytes, &question());
    }

    #[test]
    fn any_options_are_read_to_the_end(options in proptest::collection::vec(any::<u8>(), 0..300), fields: [u8; 32], overload: u8) {
        let mut bytes = answer(&[&[53, 1, 5, 52, 1, overload][..], &options].concat());
        bytes[44..76].copy_from_slice(&fields);
        bytes[108..140].copy_from_slice(&fields);
        if let Some(lease) = Answer::parse(&bytes, &question()).and_then(|answer| answer.lease()) {
            prop_assert!(lease.address.prefix_len() <= 32);
            if let Some(terms) = lease.terms {
                prop_assert!(terms.renew <= terms.rebind && terms.rebind <= terms.lease, "{terms:?}");
            }
        }
    }
}
