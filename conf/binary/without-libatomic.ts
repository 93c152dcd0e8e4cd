/**
 * Node 26 for x64 asks for libatomic, which a Debian has only where something else brought it, and of that for one function, always for 8 bytes.
 * Here the executable gets that function itself, and asks no more. Source of the layout: the System V ABI, chapters 4 and 5, and glibc's elf.h.
 */
const LIBRARY = "libatomic.so.1";
const FUNCTION = "__atomic_compare_exchange";

/**
 * `bool f(size_t size, void *at, void *expected, void *desired, int, int)`, for a size of 8 alone: with another one the program ends at once.
 * The order that the last two ask for is never stronger than that of a locked instruction.
 */
// prettier-ignore
const CODE = Uint8Array.from([
  0x48, 0x83, 0xff, 0x08, // cmp rdi, 8
  0x75, 0x14, //             jne to the last instruction
  0x48, 0x8b, 0x02, //       mov rax, [rdx]
  0x48, 0x8b, 0x09, //       mov rcx, [rcx]
  0xf0, 0x48, 0x0f, 0xb1, 0x0e, // lock cmpxchg [rsi], rcx
  0x74, 0x03, //             je over the next one
  0x48, 0x89, 0x02, //       mov [rdx], rax
  0x0f, 0x94, 0xc0, //       sete al
  0xc3, //                   ret
  0x0f, 0x0b, //             ud2
]);

const EXECUTABLE = 2; // e_type ET_EXEC: addresses are what they are
const X64 = 62; // e_machine EM_X86_64
const SEGMENT = { load: 1, dynamic: 2, runs: 1 };
const TAG = { end: 0, needed: 1, strings: 5, symbols: 6, versionOf: 0x6ffffff0, versions: 0x6ffffffe, versionCount: 0x6fffffff };
const ABSOLUTE = 0xfff1; // st_shndx SHN_ABS
const HIDDEN = 2; // st_other STV_HIDDEN: the loader takes its own value and looks nowhere else
const UNVERSIONED = 1; // VER_NDX_GLOBAL

/** Changes `file` in place; false where it needs no libatomic. Throws where it is not as expected, since a newer Node may need another function of it. */
export function withoutLibatomic(file: Buffer): boolean {
  if (file.toString("latin1", 0, 4) !== "\x7fELF" || file.readUInt16LE(18) !== X64) return false;
  const at64 = (offset: number) => Number(file.readBigUInt64LE(offset));
  const put64 = (offset: number, value: number) => file.writeBigUInt64LE(BigInt(value), offset);
  const expect = (is: boolean, what: string) => {
    if (!is) throw new Error(`${LIBRARY} cannot be left out of this Node: ${what}.`);
  };
  const segments = Array.from({ length: file.readUInt16LE(56) }, (_, index) => at64(32) + index * file.readUInt16LE(54)).map((header) => ({
    header,
    type: file.readUInt32LE(header),
    flags: file.readUInt32LE(header + 4),
    offset: at64(header + 8),
    address: at64(header + 16),
    size: at64(header + 32),
  }));
  const loads = segments.filter(({ type }) => type === SEGMENT.load);
  const offsetOf = (address: number) => {
    const load = loads.find((one) => address >= one.address && address < one.address + one.size);
    return load ? load.offset + address - load.address : -1;
  };
  const dynamic = segments.find(({ type }) => type === SEGMENT.dynamic);
  const entries = dynamic ? Array.from({ length: dynamic.size / 16 }, (_, index) => dynamic.offset + index * 16) : [];
  const entry = (tag: number) => entries.find((one) => at64(one) === tag) ?? -1;
  const table = (tag: number) => offsetOf(at64(entry(tag) + 8));
  const text = (index: number) => {
    const start = table(TAG.strings) + index;
    return file.toString("latin1", start, file.indexOf(0, start));
  };
  const needed = entries.find((one) => at64(one) === TAG.needed && text(at64(one + 8)) === LIBRARY);
  if (needed === undefined) return false;
  expect(file.readUInt16LE(16) === EXECUTABLE, "it is no program of fixed addresses");

  // Elf64_Verneed: version, count, file, aux, next; the first of them is ours, or the chain would have to be closed behind it.
  const versions = table(TAG.versions);
  expect(text(file.readUInt32LE(versions + 4)) === LIBRARY && file.readUInt16LE(versions + 2) === 1, "its versions are not the first");
  const version = file.readUInt16LE(versions + file.readUInt32LE(versions + 8) + 6);

  // Elf64_Sym: name, info, other, shndx, value, size. The table of versions has two bytes for each symbol, and ends before the versions.
  const [symbols, versionOf] = [table(TAG.symbols), table(TAG.versionOf)];
  const wanted = Array.from({ length: Math.floor((versions - versionOf) / 2) }, (_, index) => index).filter(
    (index) => (file.readUInt16LE(versionOf + index * 2) & 0x7fff) === version,
  );
  const [index = 0] = wanted;
  expect(wanted.length === 1 && text(file.readUInt32LE(symbols + index * 24)) === FUNCTION, `it wants more of it than ${FUNCTION}`);

  const running = loads.find(({ flags }) => (flags & SEGMENT.runs) !== 0);
  const end = running ? running.offset + running.size : 0;
  const room = file.subarray(end, end + CODE.length);
  const isFree = (end % 4_096) + CODE.length <= 4_096 && end % 4_096 > 0 && room.every((byte) => byte === 0);
  if (!running || !isFree) throw new Error(`There is no room for ${FUNCTION} in this Node.`);
  room.set(CODE);
  put64(running.header + 32, running.size + CODE.length);
  put64(running.header + 40, running.size + CODE.length);

  const symbol = symbols + index * 24;
  file.writeUInt8(HIDDEN, symbol + 5);
  file.writeUInt16LE(ABSOLUTE, symbol + 6);
  put64(symbol + 8, running.address + running.size);
  file.writeUInt16LE(UNVERSIONED, versionOf + index * 2);
  put64(entry(TAG.versions) + 8, at64(entry(TAG.versions) + 8) + file.readUInt32LE(versions + 12));
  put64(entry(TAG.versionCount) + 8, at64(entry(TAG.versionCount) + 8) - 1);
  // What follows moves up: the loader stops at the first empty one.
  file.copyWithin(needed, needed + 16, (entries.at(-1) as number) + 16);
  return true;
}
