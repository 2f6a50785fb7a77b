use std::io::Write;
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;

/// Names, and where a hostile name server says that they are.
const NAMES: [(&str, &str); 6] = [
    ("public.test", "93.184.216.34"),
    ("inside.test", "10.0.0.1"),
    ("both.test", "93.184.216.34 127.0.0.1"),
    ("metadata.test", "169.254.169.254"),
    ("mapped.test", "::ffff:10.0.0.1"),
    ("lab.test", "192.0.2.1"),
];

/// Looks up names in the table, and numbers as the system does.
fn table(host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = host_and_port.rsplit_once(':').unwrap();
    let port = port.parse().unwrap();
    if let Some((_, addresses)) = NAMES.iter().find(|(name, _)| *name == host) {
        return Ok(addresses.split(' ').map(|it| SocketAddr::new(it.parse().unwrap(), port)).collect());
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address: IpAddr = bare.parse().map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
    Ok(vec![SocketAddr::new(address, port)])
}

/// Every way to say an address that is nobody's but the server's own network's, and URLs that are none.
const REFUSED: &str = "
http://127.0.0.1/ http://127.1/ http://127.0.1/ http://2130706433/ http://0x7f.0.0.1/ http://0x7f000001/
http://0177.0.0.1/ http://017700000001/ http://127.255.255.254/ http://127.0.0.1./ http://127.0.0.1:443/
http://0.0.0.0/ http://0/ http://0.1.2.3/ http://10.0.0.1/ http://10.255.255.255/ http://172.16.0.1/
http://172.31.255.255/ http://192.168.0.1/ http://192.168.255.255/ http://169.254.169.254/latest/meta-data/
http://169.254.0.1/ http://100.64.0.1/ http://100.127.255.255/ http://192.0.0.1/ http://192.0.2.1/
http://198.51.100.1/ http://203.0.113.1/ http://192.88.99.1/ http://198.18.0.1/ http://198.19.255.255/
http://224.0.0.1/ http://239.255.255.255/ http://240.0.0.1/ http://255.255.255.255/ http://0xa9fea9fe/
http://[::1]/ http://[::]/ http://[::ffff:127.0.0.1]/ http://[::ffff:10.0.0.1]/ http://[::ffff:7f00:1]/
http://[::127.0.0.1]/ http://[::10.0.0.1]/ http://[64:ff9b::7f00:1]/ http://[64:ff9b::10.0.0.1]/
http://[64:ff9b:1::1]/ http://[2002:7f00:1::]/ http://[2002:a00:1::1]/ http://[2001:0:1::1]/
http://[2001:db8::1]/ http://[fc00::1]/ http://[fd12:3456::1]/ http://[fe80::1]/ http://[febf::1]/
http://[fec0::1]/ http://[ff02::1]/ http://[ff0e::1]/ http://[100::1]/ http://[3fff::1]/ http://[::ffff:0:0]/
https://127.0.0.1/ https://[::1]/ http://inside.test/ http://both.test/ http://metadata.test/ http://mapped.test/
http://lab.test/ http://INSIDE.test/ http://public.test:22/ http://public.test:8080/ http://public.test:6379/
http://1.1.1.1:25/ https://public.test:11434/ http://user:secret@public.test/ http://public.test@127.0.0.1/
http://user@public.test/ file:///etc/passwd ftp://public.test/ gopher://public.test/ http:/// http://
http://[::1/ http://public.test:99999/ javascript:alert(1) //public.test/ http://%31%32%37.0.0.1/
http://\u{ff11}27.0.0.1/ http://\u{2488}\u{2488}\u{2488}/
";

#[test]
fn what_is_not_public_is_never_called() {
    let agent = agent(table, is_public);
    let urls: Vec<_> = REFUSED.split_whitespace().collect();
    assert!(urls.len() >= 60, "{}", urls.len());
    for url in urls {
        let error = get(&agent, url).unwrap_err();
        assert!(matches!(error, FetchError::Forbidden | FetchError::Url | FetchError::Failed), "{url}");
        let named = [url.contains("://1"), url.contains("test:")].contains(&true);
        assert!(!named || matches!(error, FetchError::Forbidden | FetchError::Url), "{url}: {error:?}");
        assert!(!error.to_string().contains(char::is_numeric), "{url}: {error}");
    }
    assert_eq!(get(&agent, &format!("http://public.test/{}", "a".repeat(9_000))), Err(FetchError::Url));
}

/// Answers one call for each of `answers`, in turn.
fn server(answers: Vec<Vec<u8>>) -> (SocketAddr, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        for answer in &answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
                head.push(byte[0]);
            }
            // Who has enough hangs up.
            let _ = stream.write_all(answer);
        }
        answers.len()
    });
    (address, served)
}

/// An agent for which `public.test` is a server on this machine, and all else as it is.
fn agent_of(public: SocketAddr) -> ureq::Agent {
    let look_up = move |host: &str| {
        if host.starts_with("public.test:") { Ok(vec![public]) } else { table(host) }
    };
    agent(look_up, move |address| address == public.ip() || is_public(address))
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").as_bytes(), body].concat()
}

fn redirect(to: &str) -> Vec<u8> {
    answer(&format!("302 Found\r\nlocation: {to}\r\ncontent-length: 0"), b"")
}

#[test]
fn a_picture_is_fetched_whatever_way_it_is_at() {
    let found = answer("200 OK\r\ncontent-length: 4", b"mill");
    let (address, served) = server(vec![redirect("http://public.test/b"), redirect("/c"), found]);
    assert_eq!(get(&agent_of(address), "http://public.test/a").unwrap(), b"mill");
    assert_eq!(served.join().unwrap(), 3);
}

#[test]
fn redirects_are_held_to_the_same_rules() {
    let ways = [
        "http://10.0.0.1/",
        "http://[::1]/",
        "http://inside.test/",
        "http://public.test:22/",
        "//[fe80::1]/",
    ];
    for way in ways {
        let (address, served) = server(vec![redirect(way)]);
        assert_eq!(get(&agent_of(address), "http://public.test/"), Err(FetchError::Forbidden), "{way}");
        served.join().unwrap();
    }
    let (address, served) = server(vec![redirect("file:///etc/passwd")]);
    assert!(get(&agent_of(address), "http://public.test/").is_err());
    served.join().unwrap();
}

#[test]
fn redirects_come_to_an_end() {
    let (address, served) = server(vec![redirect("/again"); REDIRECTS as usize + 1]);
    assert_eq!(get(&agent_of(address), "http://public.test/"), Err(FetchError::Failed));
    served.join().unwrap();
}

#[test]
fn what_is_too_long_or_not_there_is_refused() {
    let announced = answer(&format!("200 OK\r\ncontent-length: {}", MOST + 1), b"");
    let unannounced = answer("200 OK", &vec![0; MOST as usize + 1]);
    for (said, error) in [
        (announced, FetchError::TooLong),
        (unannounced, FetchError::TooLong),
        (answer("404 Not Found\r\ncontent-length: 0", b""), FetchError::Failed),
        (answer("200 OK\r\ncontent-length: 9", b"mill"), FetchError::Failed),
        (b"nonsense".to_vec(), FetchError::Failed),
    ] {
        let (address, served) = server(vec![said]);
        assert_eq!(get(&agent_of(address), "http://public.test/"), Err(error));
        served.join().unwrap();
    }
}
