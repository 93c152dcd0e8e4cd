/** Streams of requests and of responses as fast-check makes them: well-formed for the most part, hostile in places. */
import * as fc from "fast-check";

const oneOf = (...texts: string[]) => fc.constantFrom(...texts);
/** The first far more often than the second. */
const mostly = (usual: fc.Arbitrary<string>, odd: fc.Arbitrary<string>) => fc.oneof({ weight: 150, arbitrary: usual }, { weight: 1, arbitrary: odd });
const joined = (...parts: fc.Arbitrary<string>[]) => fc.tuple(...parts).map((texts) => texts.join(""));
const anyByte = fc.integer({ min: 0, max: 255 }).map((byte) => String.fromCharCode(byte));
const visible = fc.integer({ min: 33, max: 126 }).map((byte) => String.fromCharCode(byte));

const crlf = mostly(oneOf("\r\n"), oneOf("\n", "\r", "\r\r\n", "\r\n\r\n", "\n\n", " \r\n", "\r\n ", "\x0b\r\n", "\x85"));
const blank = mostly(oneOf(" "), oneOf("", "  ", "\t", "\r\n ", "\x0b", "\xa0", "\x00"));
const version = mostly(
  oneOf("HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"),
  oneOf("HTTP/2.0", "HTTP/0.9", "HTTP/1.10", "http/1.1", "HTTP/1.", "ICE/1.0", "RTSP/1.0", "", "HTTP/1.1 HTTP/1.1"),
);
const method = mostly(
  oneOf("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "M-SEARCH", "QUERY", "TRACE"),
  oneOf("CONNECT", "PRI", "SOURCE", "get", "DESCRIBE", "G\x00T", "", "GETX", "_", "POST\t"),
);
const target = mostly(
  fc.oneof(
    oneOf("/", "/a", "/a/../b", "//x//y", "/%zz", "/%00", "/a?b=c&d", "/?", "/a;b", "http://a/", "http://A:80/x?y", "https://a", "*"),
    fc.array(visible, { maxLength: 8 }).map((bytes) => `/${bytes.join("")}`),
  ),
  oneOf("a", "/a b", "/\xe9", "/\x01", "/#x", "ftp://a/", "http:///", "http://b/", "a:443", "", "http://a@b/", "/\x7f"),
);
const names = oneOf(
  "X-A", "x-b", "Accept", "Cookie", "cookie", "X_A", "_", "Te", "Trailer", "Keep-Alive", "Proxy-Connection", "Upgrade", "Expect", "X-Forwarded-For", "Via", "!#$%&'*+-.^`|~0", "Authorization", "Proxy-Authorization", "Content-Type",
); // prettier-ignore
const name = mostly(
  names,
  oneOf(
    "",
    "X A",
    "X\x00",
    "X\xe9",
    "Transfer-Encoding ",
    "Content-Length\t",
    "(x)",
    "Host",
    "Content-Length",
    "Transfer-Encoding",
    "Content_Length",
    "Transfer_Encoding",
    "Connection",
  ),
);
const value = mostly(
  fc.oneof(
    oneOf("", "a", "a, b", "close", "chunked", "100-continue", "websocket", "\xe9\xff", "a\tb", "a  b", '"a\\"b"', "5", "\x80", "\xa0x\xa0", "h2c"),
    fc.array(visible, { maxLength: 6 }).map((bytes) => bytes.join("")),
  ),
  fc.oneof(oneOf("a\x00", "a\x0b", "\x0c", "a\nb", "a\rb", "a\r\n b", "\x7f", "a\x1fb"), anyByte),
);
const spaces = mostly(oneOf("", " "), oneOf("  ", "\t", " \t ", "\x0b", "\xa0"));
const line = joined(name, mostly(oneOf(":"), oneOf(" :", "", "::", "\t:")), spaces, value, spaces, crlf);
const connection = joined(
  oneOf("Connection", "connection", "CONNECTION"),
  oneOf(": "),
  fc
    .array(
      oneOf(
        "close",
        "keep-alive",
        "x-a",
        "X-B",
        "host",
        "content-length",
        "transfer-encoding",
        "cookie",
        "te",
        "upgrade",
        "",
        "x_a",
        "via",
        "accept",
      ),
      { maxLength: 4 },
    )
    .map((members) => members.join(", ")),
  crlf,
);
const lines = fc
  .array(fc.oneof({ weight: 6, arbitrary: line }, { weight: 1, arbitrary: connection }), { maxLength: 5 })
  .map((texts) => texts.join(""));
const host = mostly(
  oneOf("Host: a\r\n", "host:a:80 \r\n", "HOST: [::1]:8\r\n"),
  oneOf("", "Host: a\r\nHost: a\r\n", "Host:\r\n", "Host: a b\r\n", "Host: a@b\r\n", "Host : a\r\n"),
);

const payload = mostly(
  fc.array(anyByte, { maxLength: 12 }).map((bytes) => bytes.join("")),
  oneOf("0\r\n\r\n", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
);
const lengthValue = (length: number) =>
  mostly(
    oneOf(`${length}`, `${length}`, `0${length}`),
    oneOf(`+${length}`, `-${length}`, `${length}, ${length}`, `0x${length}`, `${length + 1}`, "", "99999999999999999999", `${length} `, `${length};`),
  );
const withLength = payload.chain((body) =>
  joined(oneOf("Content-Length: ", "content-length:"), lengthValue(body.length), oneOf("\r\n"), crlf, fc.constant(body)),
);
const extension = mostly(
  oneOf("", "", ";a", ";a=b", ';a="b;c"', ";a;b"),
  oneOf(" ", ";", "; a", ";a =b", ';a="', ";=", "\x00", ';a="\x80"', ";\xe9"),
);
const chunk = payload.chain((data) => {
  if (data === "") return fc.constant("");
  const size = data.length.toString(16);
  return joined(
    mostly(
      oneOf(size, size.toUpperCase(), `00${size}`),
      oneOf(`0x${size}`, `+${size}`, `${size} `, ` ${size}`, "", "ffffffffffffffff", `0000000000000000${size}`),
    ),
    extension,
    crlf,
    fc.constant(data),
    crlf,
  );
});
const trailers = mostly(
  oneOf("", "", "X-T: 1\r\n", "A:\r\nB: c \r\n"),
  fc.oneof(line, oneOf("Content-Length: 1\r\n", "Host: b\r\n", "X: y\r\n z\r\n", "X-User-Api-Key: k\r\n")),
);
const chunked = joined(
  oneOf("Transfer-Encoding: ", "transfer-encoding:"),
  mostly(
    oneOf("chunked", "Chunked"),
    oneOf(
      "gzip, chunked",
      "chunked, identity",
      "identity",
      "\x0bchunked",
      "xchunked",
      "chunked\r\nTransfer-Encoding: chunked",
      "chunked\r\nContent-Length: 3",
      '"chunked"',
    ),
  ),
  oneOf("\r\n"),
  crlf,
  fc.array(chunk, { maxLength: 3 }).map((texts) => texts.join("")),
  mostly(oneOf("0", "0", "000", "0;last"), oneOf("", "0 ", "-0", "0x0")),
  crlf,
  trailers,
  crlf,
);
const rest = fc.oneof({ weight: 4, arbitrary: crlf }, { weight: 3, arbitrary: withLength }, { weight: 4, arbitrary: chunked });
const request = joined(method, blank, target, blank, version, crlf, host, lines, rest);

const status = mostly(
  oneOf("200", "200", "404", "204", "304", "100", "103", "299", "500", "999"),
  oneOf("099", "101", "20", "1000", "abc", "2 0", ""),
);
const reason = mostly(oneOf(" OK", " ", "", " Not  Found", " \xe9", " a\tb"), oneOf("  OK", " a\x00", " a\x01", "\tOK", " \x0b", " a\x7f"));
const response = joined(version, mostly(oneOf(" "), blank), status, reason, crlf, lines, rest);

export type FuzzCase = { methods: string[]; stream: string };

const streamOf = (message: fc.Arbitrary<string>) =>
  joined(
    mostly(oneOf(""), oneOf("\r\n", "\n", "\r\n\r\n\r\n\r\n")),
    fc.array(message, { minLength: 1, maxLength: 3 }).map((all) => all.join("")),
    mostly(oneOf(""), anyByte),
  );

export const requestCases: fc.Arbitrary<FuzzCase> = fc.record({ methods: fc.constant([]), stream: streamOf(request) });
export const responseCases: fc.Arbitrary<FuzzCase> = fc.record({
  methods: fc.array(oneOf("GET", "GET", "POST", "HEAD"), { minLength: 1, maxLength: 3 }),
  stream: streamOf(response),
});
