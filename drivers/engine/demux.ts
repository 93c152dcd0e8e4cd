import { StringDecoder } from "node:string_decoder";

const HEADER = 8;

/**
 * Takes the engine's frames apart: a byte for the stream (1 standard output, 2 standard error), three of padding, four of length,
 * then the text. Frames and characters may be cut anywhere, so each stream has a decoder of its own.
 */
export async function* demux(stream: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoders = new Map<number, StringDecoder>();
  let rest: Buffer = Buffer.alloc(0);
  let source = 0;
  let left = 0;
  for await (const chunk of stream) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (;;) {
      if (left === 0) {
        if (rest.length < HEADER) break;
        source = rest[0] ?? 0;
        left = rest.readUInt32BE(4);
        rest = rest.subarray(HEADER);
        if (left === 0) continue;
      }
      if (rest.length === 0) break;
      // A frame may be as long as the log's longest line: what has come of it is passed on.
      const piece = rest.subarray(0, left);
      left -= piece.length;
      rest = rest.subarray(piece.length);
      const decoder = decoders.get(source) ?? new StringDecoder("utf8");
      decoders.set(source, decoder);
      const text = decoder.write(piece);
      if (text !== "") yield text;
    }
  }
}
