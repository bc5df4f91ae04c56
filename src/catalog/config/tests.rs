use super::*;
use crate::boot::transport::Transport;

fn fault(text: &str) -> String {
    Config::parse(text).unwrap_err().to_string()
}

fn label(text: &str) -> Label {
    Label::parse(text).unwrap()
}

#[test]
fn an_empty_file_says_nothing() {
    assert_eq!(Config::parse("# nothing\n"), Ok(Config::default()));
}

#[test]
fn every_key_is_read() {
    let config = Config::parse(
        r#"
        [defaults]
        default = "F42"
        timeout = 0
        append = "quiet"
        servers = ["10.0.0.1", "10.0.0.2:99"]
        server = "10.0.0.1"
        nbd-port = 10810
        http-url = "http://10.0.0.1/nb/"
        nfs = "10.0.0.1:/srv/"
        root-export = "iso"

        [iso.F42]
        title = "Fedora for everybody"
        order = -1
        append = "a=1"
        args = "b=2"
        hidden = true
        transport = "nbd-image"

        [iso."debian 13.iso"]

        [[machine]]
        mac = "52:54:00:12:34:56"
        uuid = ["4c4c4544-0042-3510-8052-b4c04f4d3732"]
        address = ["10.0.0.1", "10.0.1.0/24"]
        default = "F42"
        timeout = 3599
        append = "console=ttyS0"
        only = ["F42", "Debian"]
        without = "Debian"
        "#,
    )
    .unwrap();
    let defaults = Defaults {
        default: Some(ByItself::Iso(label("F42"))),
        timeout: Some(0),
        append: Some("quiet".into()),
        server: Some("10.0.0.1".into()),
        servers: Some(vec!["10.0.0.1".parse().unwrap(), "10.0.0.2:99".parse().unwrap()]),
        nbd_port: Some(10810),
        http_url: Some("http://10.0.0.1/nb".into()),
        nfs: Some("10.0.0.1:/srv".into()),
        root_export: Some(RootExport(Some(Export::Iso))),
    };
    assert_eq!(config.defaults, defaults);
    let choice = IsoChoice {
        title: Some("Fedora for everybody".into()),
        order: -1,
        append: Some("a=1".into()),
        args: Some("b=2".into()),
        hidden: true,
        transport: Some(Wish::Exactly(Transport::Nbd(Export::Image))),
    };
    assert_eq!(config.iso(&label("F42"), "any.iso"), choice);
    let machine = Machine {
        mac: List(vec!["52:54:00:12:34:56".parse().unwrap()]),
        uuid: List(vec!["4c4c4544-0042-3510-8052-b4c04f4d3732".parse().unwrap()]),
        address: List(vec!["10.0.0.1".parse().unwrap(), "10.0.1.0/24".parse().unwrap()]),
        default: Some(ByItself::Iso(label("F42"))),
        timeout: Some(3599),
        append: Some("console=ttyS0".into()),
        only: Some(vec![label("F42"), label("Debian")]),
        without: List(vec![label("Debian")]),
    };
    assert_eq!(config.machines, [Arc::new(machine)]);
}

#[test]
fn an_iso_is_known_by_its_label_or_else_its_file() {
    let text = "[iso.A]\norder = 1\n[iso.\"b.iso\"]\norder = 2\n";
    let config = Config::parse(text).unwrap();
    let order = |text, file| config.iso(&label(text), file).order;
    assert_eq!((order("A", "b.iso"), order("B", "b.iso"), order("B", "c.iso")), (1, 2, 0));
    assert_eq!(order("B", "/some/where/b.iso"), 2);
}

#[test]
fn unknown_keys_are_named() {
    for (text, sentence) in [
        ("a = 1", "line 1: unknown field `a`, expected one of `mount`, `defaults`, `iso`, `machine`"),
        (
            "[defaults]\ntimeut = 3",
            "line 2: unknown field `timeut`, expected one of `default`, `timeout`, `append`, `server`, `servers`, \
             `nbd-port`, `http-url`, `nfs`, `root-export`",
        ),
        (
            "[iso.X]\nhiden = true",
            "line 2: unknown field `hiden`, expected one of `title`, `order`, `append`, `args`, `hidden`, \
             `transport`",
        ),
        (
            "[[machine]]\nmac = \"52:54:00:12:34:56\"\n\nip = \"10.0.0.1\"",
            "line 4: unknown field `ip`, expected one of `mac`, `uuid`, `address`, `default`, `timeout`, \
             `append`, `only`, `without`",
        ),
    ] {
        assert_eq!(fault(text), sentence);
    }
}

#[test]
fn values_are_checked_as_on_the_command_line() {
    for (text, sentence) in [
        ("[defaults]\ntimeout = 9999", "line 2: 9999 is not in 0 to 3599"),
        ("[defaults]\n\nnbd-port = 0", "line 3: 0 is not in 1 to 65535"),
        (
            "[defaults]\ndefault = \"42\"",
            "line 2: '42' is no usable label: a number is taken for a port by dracut",
        ),
        (
            "[defaults]\nappend = \"a\\nb\"",
            "line 2: kernel arguments are one line without control characters",
        ),
        ("[iso.X]\nargs = 'a=\"b'", "line 2: a double quote has no partner"),
        ("[iso.X]\ntitle = \" \"", "line 2: a title is not empty"),
        ("[iso.X]\ntitle = \"a\\tb\"", "line 2: a title is one line without control characters"),
        ("[defaults]\nserver = \"a b\"", "line 2: not an IPv4 address or a host name"),
        ("[defaults]\nhttp-url = \"ftp://x\"", "line 2: not a URL such as http://192.168.50.1/netboot"),
        ("[defaults]\nnfs = \"x\"", "line 2: not HOST:/PATH such as 192.168.50.1:/srv/netboot"),
        (
            "[defaults]\nroot-export = \"x\"",
            "line 2: unknown variant `x`, expected one of `auto`, `image`, `iso`",
        ),
        (
            "[iso.X]\ntransport = \"ftp\"",
            "line 2: unknown variant `ftp`, expected one of `nbd`, `nbd-image`, `nbd-iso`, `netroot`, `http`, `nfs`, `own`",
        ),
        ("[defaults]\ntimeout = \"x\"", "line 2: invalid type: string \"x\", expected a number"),
        ("[iso.X]\norder = true", "line 2: invalid type: boolean `true`, expected a number"),
        ("[iso.X]\nhidden = 1", "line 2: invalid type: integer `1`, expected a boolean"),
        (
            "[iso.\"a/b\"]",
            "line 1: \"a/b\" is neither a label nor the name of a file in the directory of ISOs",
        ),
    ] {
        assert_eq!(fault(text), sentence);
    }
}

#[test]
fn machines_are_checked() {
    for (text, sentence) in [
        ("\n\n[[machine]]\ndefault = \"X\"", "line 3: a machine needs a mac, a uuid or an address"),
        ("[[machine]]\nmac = \"x\"", "line 2: 'x' is no MAC address such as 52:54:00:12:34:56"),
        (
            "[[machine]]\nmac = 5",
            "line 2: invalid type: integer `5`, expected a string, or a list of strings",
        ),
        ("[[machine]]\nmac = [5]", "line 2: invalid type: integer `5`, expected a string"),
        (
            "[[machine]]\nuuid = [\"x\"]",
            "line 2: 'x' is no UUID such as 4c4c4544-0042-3510-8052-b4c04f4d3732",
        ),
        (
            "[[machine]]\naddress = \"10.0.0.0/8\"",
            "line 2: '10.0.0.0/8' has 16777216 addresses, more than 65536",
        ),
        (
            "[[machine]]\naddress = \"10.0.0.1\"\nonly = [\"a b\"]",
            "line 3: 'a b' is no usable label: only A-Z a-z 0-9 . _ - may stand in it",
        ),
    ] {
        assert_eq!(fault(text), sentence);
    }
    let many = "[[machine]]\naddress = \"10.0.0.1\"\n".repeat(MAX_MACHINES);
    assert_eq!(Config::parse(&many).unwrap().machines.len(), MAX_MACHINES);
    let more = many + "[[machine]]\naddress = \"10.0.0.1\"\n";
    assert_eq!(fault(&more), "line 8193: more than 4096 machines");
}

#[test]
fn what_is_no_toml_has_its_line() {
    assert_eq!(fault("[defaults]\n\n[iso"), "line 3: unclosed table, expected `]`");
    assert_eq!(fault("[defaults]\ntimeout = 1\ntimeout = 2"), "line 3: duplicate key");
}

#[test]
fn what_a_fault_quotes_is_printable() {
    for text in [
        "[[machine]]\nmac = \"\\u001B[2J\"",
        "[[machine]]\nuuid = \"\u{9b}2J\"",
        "[defaults]\n\"\\u202Ex\" = 1",
    ] {
        let fault = fault(text);
        assert!(fault.contains('?') && !fault.contains(printable::is_control), "{fault:?}");
    }
}

#[test]
fn what_is_said_first_counts() {
    let options = Defaults { timeout: Some(3), server: Some("a".into()), ..Defaults::default() };
    let file = Defaults { timeout: Some(5), append: Some("quiet".into()), ..Defaults::default() };
    let both = options.or(&file);
    assert_eq!(
        (both.timeout, both.append.map(|args| args.to_string()).as_deref(), both.server.as_deref()),
        (Some(3), Some("quiet"), Some("a"))
    );
}

#[test]
fn what_is_no_utf8_is_told_with_its_line() {
    let fault = Config::from_bytes(b"[defaults]\n# K\xe4se\ntimeout = 1\n").unwrap_err();
    assert_eq!(fault.to_string(), "line 2: it is not UTF-8");
}
