/** What a byte is replaced by, or gets beside it: whatever some parser takes for an end, a space or a separator. */
const MORSELS = [
  "\r\n", "\n", "\r", "\r\n\r\n", "\n\n", " ", "\t", "\x0b", "\x0c", "\x00", "\x85", "\xa0", "\x7f", ":", ";", ",", "_", "#", "0", "1", "f", "+", "-", "\\", '"',
  "0\r\n\r\n", "5\r\n", "Content-Length: 5\r\n", "Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding", "chunked", "Host: a\r\n",
  "Connection: close\r\n", "Connection: transfer-encoding\r\n", "Connection: x-a\r\n", "Upgrade: h2c\r\n", "Expect: 100-continue\r\n", "HTTP/1.0", "HTTP/1.1",
  "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 204 No\r\n\r\n", "X-A: b\r\n", " x\r\n",
]; // prettier-ignore

/** `stream` with a few changes; all of them follow from `next`. */
export function mutate(stream: string, next: (below: number) => number, other: string): string {
  let text = stream;
  for (let changes = next(3) === 0 ? 1 + next(4) : 1; changes > 0; changes--) {
    const at = next(text.length + 1);
    const morsel = MORSELS[next(MORSELS.length)] ?? "";
    const length = 1 + next(6);
    switch (next(7)) {
      case 0:
        text = text.slice(0, at) + morsel + text.slice(at);
        break;
      case 1:
        text = text.slice(0, at) + morsel + text.slice(at + morsel.length);
        break;
      case 2:
        text = text.slice(0, at) + text.slice(at + length);
        break;
      case 3:
        text = text.slice(0, at) + String.fromCharCode(next(256)) + text.slice(at + 1);
        break;
      case 4:
        text = text.slice(0, at) + text.slice(at, at + 4 * length) + text.slice(at);
        break;
      case 5:
        text = text.slice(0, at) + other.slice(next(other.length + 1));
        break;
      default:
        text = text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ (1 << next(8))) + text.slice(at + 1);
    }
  }
  return text.slice(0, 1_900);
}
