/** Header lines that two parsers may read differently: a wrong byte in each place of a framing line, and spellings that are known from attacks. */

/** A line or more, each with its line end. `length` is the number that a `Content-Length` among them gives. */
export type FramingLines = { name: string; lines(length: number): string };

type FramingHeader = { name: string; value(length: number): string };

const CODING: FramingHeader = { name: "Transfer-Encoding", value: () => "chunked" };
const LENGTH: FramingHeader = { name: "Content-Length", value: String };

/** Where the wrong byte stands. */
const PLACES: Record<string, (name: string, value: string, byte: string) => string> = {
  "before the name": (name, value, byte) => `${byte}${name}: ${value}\r\n`,
  "within the name": (name, value, byte) => `${name.slice(0, 4)}${byte}${name.slice(4)}: ${value}\r\n`,
  "for the hyphen": (name, value, byte) => `${name.replace("-", byte)}: ${value}\r\n`,
  "before the colon": (name, value, byte) => `${name}${byte}: ${value}\r\n`,
  "for the space": (name, value, byte) => `${name}:${byte}${value}\r\n`,
  "before the value": (name, value, byte) => `${name}: ${byte}${value}\r\n`,
  "within the value": (name, value, byte) => `${name}: ${value.slice(0, 1)}${byte}${value.slice(1)}\r\n`,
  "behind the value": (name, value, byte) => `${name}: ${value}${byte}\r\n`,
  "for the carriage return": (name, value, byte) => `${name}: ${value}${byte}\n`,
  "for the line feed": (name, value, byte) => `${name}: ${value}\r${byte}X: x\r\n`,
  "for the line end before": (name, value, byte) => `X: x${byte}${name}: ${value}\r\n`,
  "for the line feed before": (name, value, byte) => `X: x\r${byte}${name}: ${value}\r\n`,
  "for the carriage return before": (name, value, byte) => `X: x${byte}\n${name}: ${value}\r\n`,
};

const BYTES = Array.from({ length: 256 }, (_, byte) => byte);

const WRONG_BYTES: readonly FramingLines[] = [CODING, LENGTH].flatMap(({ name, value }) =>
  Object.entries(PLACES).flatMap(([place, write]) =>
    BYTES.map((byte) => ({
      name: `${name} with byte ${byte} ${place}`,
      lines: (length: number) => write(name, value(length), String.fromCharCode(byte)),
    })),
  ),
);

const CODINGS = [
  "chunked", "Chunked", "CHUNKED", "xchunked", "chunked, identity", "identity, chunked", "chunked, chunked", "gzip, chunked", "identity", "chunked;q=1",
  "chunked,", ",chunked", '"chunked"', "'chunked'", "chunked chunked", "chunk", "\r\n chunked", "\r\n\tchunked", "chunked\r\n , identity", "", "cow",
  "chunked\r\nTransfer-Encoding: identity", "identity\r\nTransfer-Encoding: chunked", "chunked\r\nTransfer-Encoding: chunked", "x\r\ntransfer_encoding: chunked",
]; // prettier-ignore

const LENGTHS: readonly ((length: number) => string)[] = [
  (length) => `+${length}`,
  (length) => `-${length}`,
  (length) => `0${length}`,
  (length) => `0x${length.toString(16)}`,
  (length) => `${length}.0`,
  (length) => `${length}e0`,
  (length) => `${length}, ${length}`,
  (length) => `${length}, 0`,
  (length) => `0, ${length}`,
  (length) => `${length} ${length}`,
  (length) => `${length};0`,
  (length) => `"${length}"`,
  (length) => `\r\n ${length}`,
  (length) => `${length}\r\nContent-Length: 0`,
  (length) => `0\r\nContent-Length: ${length}`,
  (length) => `${length}\r\ncontent-length: ${length}`,
  (length) => `${length}\r\nContent_Length: 0`,
  (length) => String(2 ** 32 + length),
  (length) => String(2n ** 64n + BigInt(length)),
  (length) => `${"0".repeat(30)}${length}`,
  () => "",
  () => "0",
  () => "-0",
];

const NAMES = ["Transfer-Encoding", "transfer-encoding", "TRANSFER-ENCODING", "Transfer_Encoding", "Transfer Encoding", "X-Transfer-Encoding", "Te"];

/** The plain ones come first. */
export const FRAMING_LINES: readonly FramingLines[] = [
  { name: "no framing", lines: () => "" },
  { name: "Content-Length", lines: (length) => `Content-Length: ${length}\r\n` },
  ...CODINGS.map((coding) => ({ name: `the coding ${JSON.stringify(coding)}`, lines: () => `Transfer-Encoding: ${coding}\r\n` })),
  ...LENGTHS.map((write) => ({ name: `the length ${JSON.stringify(write(5))}`, lines: (length: number) => `Content-Length: ${write(length)}\r\n` })),
  ...NAMES.map((name) => ({ name: `the name ${name}`, lines: () => `${name}: chunked\r\n` })),
  ...WRONG_BYTES,
];

/** A framing line beside the one that is tried, which says something else or the same. */
export const OTHER_LINES: readonly ((length: number) => string)[] = [
  () => "",
  (length) => `Content-Length: ${length}\r\n`,
  (length) => `Content-Length: ${length}\r\n`,
  (length) => `Content-Length: ${length}\r\n`,
  (length) => `Content-Length: ${length + 1}\r\n`,
  () => "Content-Length: 4\r\n",
  () => "Content-Length: 0\r\n",
  () => "Transfer-Encoding: chunked\r\n",
  () => "Transfer-Encoding: identity\r\n",
];

/** Chunked bodies; the odd ones hide where they end. `behind` follows. */
export const CHUNKED_BODIES: readonly ((behind: string) => string)[] = [
  (behind) => `0\r\n\r\n${behind}`,
  (behind) => `3\r\nabc\r\n0\r\n\r\n${behind}`,
  (behind) => behind,
  () => "",
  (behind) => `00003\r\nabc\r\n000\r\n\r\n${behind}`,
  (behind) => `3;a=b\r\nabc\r\n0;c="d;e"\r\n\r\n${behind}`,
  (behind) => `3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n${behind}`,
  (behind) => `3\r\nabc\r\n0\r\nContent-Length: ${behind.length}\r\n\r\n${behind}`,
  (behind) => `${behind.length.toString(16)}\r\n${behind}\r\n0\r\n\r\n`,
  (behind) => `${(behind.length + 2).toString(16).toUpperCase()}\r\n\r\n${behind}\r\n0\r\n\r\n${behind}`,
  ...["3\n", "3\r", "3 \r\n", " 3\r\n", "\t3\r\n", "3\t\r\n", "0x3\r\n", "+3\r\n", "-3\r\n", "3_\r\n", "3\x00\r\n", "3;\n\r\n", "3;a\nb\r\n", "3;a\r\r\n", '3;a="\r\n"\r\n'].map(
    (size) => (behind: string) => `${size}abc\r\n0\r\n\r\n${behind}`,
  ),
  ...["abc\n", "abc", "abcX\r\n", "abc\r", "abc\r\r\n", "abc\x00\x00", "ab\r\n"].map((data) => (behind: string) => `3\r\n${data}0\r\n\r\n${behind}`),
  ...["0\n\n", "0\r\n\n", "0\n\r\n", "0\r\r", "0 \r\n\r\n", "0x0\r\n\r\n", "-0\r\n\r\n", "0\r\n \r\n\r\n", "0\r\nX\r\n\r\n", "0\r\nX : y\r\n\r\n", "0\r\nX: y\n\r\n", "0\r\n\x00\r\n\r\n"].map(
    (end) => (behind: string) => `3\r\nabc\r\n${end}${behind}`,
  ),
  (behind) => `10000000000000003\r\nabc\r\n0\r\n\r\n${behind}`,
  (behind) => `ffffffffffffffff\r\nabc\r\n0\r\n\r\n${behind}`,
  (behind) => `100000003\r\nabc\r\n0\r\n\r\n${behind}`,
]; // prettier-ignore
