/** Heads that are plain for the most part, and changes of their bytes: what the scanner takes is to be compared with what the parser reads. */

type Next = (below: number) => number;

const METHODS = [
  "GET",
  "GET",
  "GET",
  "POST",
  "PUT",
  "HEAD",
  "OPTIONS",
  "DELETE",
  "PATCH",
  "M-SEARCH",
  "UNSUBSCRIBE",
  "QUERY",
  "CONNECT",
  "PRI",
  "SOURCE",
];
const TARGETS = [
  "/", "/a/b?c=d&e=%20", "/api/docker/containers/proxy/6b0f3c1e-2d5c-4c5f-9a53-3d7f0a1b2c3d/x?limit=20", "//x", "/?", "/a;b=c|d", "/[x]{y}", "/%zz", "/a\\b^`",
  "/<x>", "/#f", "*", "http://h/", "a:443",
]; // prettier-ignore
const HOSTS = ["h", "berth.example.com", "10.0.0.1:8080", "h:80", "h:65535", "[::1]:8", "h:", "a_b", "h:123456", "a,b"];
const NAMES = [
  "Accept", "accept", "X-A", "User-Agent", "Cookie", "cookie", "Authorization", "X-User-Api-Key", "X-Forwarded-For", "Set-Cookie", "Keep-Alive", "TE", "te",
  "Proxy-Connection", "Proxy-Authorization", "Trailer", "a", "!#$%&'*+-.^`|~0", "Content-Type", "Content-Lengthy", "Hosts", "Transfer-Encodin", "Expect", "X_A",
  "Content_Length",
]; // prettier-ignore
const VALUES = [
  "a", "a b", "*/*", "gzip, deflate, br", "timeout=5", "trailers", "100-continue", "a=b; c=d", "close", "chunked", "5", "0123456789abcdef", '"x"', "a:b", "websocket",
  "a\tb", " a", "a ", "", "\xe9",
]; // prettier-ignore
/** Lines that mean something, usual and less so. */
const MEANT = [
  "Connection: keep-alive", "Connection: close", "connection: Keep-Alive", "Connection: Close", "Content-Length: 0", "Content-Length: 12",
  "content-length: 123456789012345", "Transfer-Encoding: chunked", "transfer-encoding: chunked", "Connection: Upgrade\r\nUpgrade: websocket",
  "Upgrade: WebSocket\r\nA: b\r\nConnection: keep-alive, Upgrade", "Connection: upgrade\r\nUpgrade: websocket",
  "Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c", "Connection: x-a", "Connection: close, x-a", "Content-Length: 1234567890123456", "Content-Length: 012",
  "Content-Length: 1,1", "Content-Length: +1", "Content-Length: -0", "Transfer-Encoding: Chunked", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: identity",
  "Host: h", "Expect: 100-continue",
]; // prettier-ignore
const REASONS = ["OK", "Not Found", "No", "Switching Protocols", "a  b", " OK", "OK ", "", "\xe9", "a\tb"];
const STATUSES = ["200", "200", "200", "404", "204", "304", "101", "100", "103", "500", "599", "600", "099", "999"];
const MORSELS = [
  "\r\n",
  "\n",
  "\r",
  "\r\n\r\n",
  " ",
  "  ",
  "\t",
  "\0",
  "\x0b",
  "\x7f",
  "\x80",
  "\xa0",
  ":",
  ": ",
  " :",
  ",",
  "_",
  "#",
  "0",
  "HTTP/1.0",
  "HTTP/1.1",
  "\r\n x",
];

function pick(next: Next, texts: readonly string[]): string {
  return texts[next(texts.length)] ?? "";
}

/** The first few far more often than the others. */
function mostly(next: Next, texts: readonly string[], odd: number): string {
  return next(40) === 0 ? pick(next, texts) : pick(next, texts.slice(0, texts.length - odd));
}

function linesOf(next: Next): string {
  let lines = "";
  for (let count = next(7); count > 0; count--) {
    if (next(5) === 0) lines += `${mostly(next, MEANT, 15)}\r\n`;
    else lines += `${mostly(next, NAMES, 3)}:${next(40) === 0 ? "" : " "}${mostly(next, VALUES, 5)}\r\n`;
  }
  return lines;
}

export function plainRequest(next: Next): string {
  const host = next(40) === 0 ? "" : `${next(4) === 0 ? "host" : "Host"}: ${mostly(next, HOSTS, 5)}\r\n`;
  const lines = linesOf(next);
  const line = `${mostly(next, METHODS, 3)} ${mostly(next, TARGETS, 5)} HTTP/1.${next(40) === 0 ? 0 : 1}\r\n`;
  return `${line}${next(2) === 0 ? host + lines : lines + host}\r\n`;
}

export function plainResponse(next: Next): string {
  return `HTTP/1.${next(40) === 0 ? 0 : 1} ${mostly(next, STATUSES, 3)} ${mostly(next, REASONS, 5)}\r\n${linesOf(next)}\r\n`;
}

/** A copy of `text` with up to three changes. */
export function changed(text: string, next: Next, other: string): string {
  let result = text;
  for (let changes = 1 + (next(3) === 0 ? next(3) : 0); changes > 0; changes--) {
    const at = next(result.length + 1);
    switch (next(6)) {
      case 0:
        result = result.slice(0, at) + pick(next, MORSELS) + result.slice(at);
        break;
      case 1:
        result = result.slice(0, at) + result.slice(at + 1 + next(4));
        break;
      case 2:
        result = result.slice(0, at) + other.slice(next(other.length + 1));
        break;
      case 3:
        result = result.slice(0, at) + result.slice(at, at + next(24)) + result.slice(at);
        break;
      case 4:
        result = result.slice(0, at) + String.fromCharCode(result.charCodeAt(at) ^ (1 << next(8))) + result.slice(at + 1);
        break;
      default:
        result = result.slice(0, at) + String.fromCharCode(next(256)) + result.slice(at + 1);
    }
  }
  return result;
}
