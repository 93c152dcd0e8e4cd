import type { DynamicLibrary, FunctionSignature } from "node:ffi";
import { arch, platform } from "node:process";
import { getSystemErrorName } from "node:util";
import { isMainThread } from "node:worker_threads";

/** An address in this process. */
export type Pointer = bigint;

/**
 * Functions of libc and libuv. Calls with up to three integers or addresses cost 15–60 ns beyond the system call, others 200–300 ns. Those that fail return
 * a negative number, and `errno` has the reason.
 */
export type Libc = {
  readv(fd: number, vectors: Pointer, count: number): number;
  writev(fd: number, vectors: Pointer, count: number): number;
  shutdown(fd: number, how: number): number;
  close(fd: number): number;
  fcntl(fd: number, command: number, argument: number): number;
  setsockopt(fd: number, level: number, option: number, value: Pointer, length: number): number;
  /** Writes the two descriptors to `ends`. */
  pipe2(ends: Pointer, flags: number): number;
  splice(from: number, fromOffset: Pointer, to: number, toOffset: Pointer, bytes: bigint, flags: number): bigint;
  eventfd(count: number, flags: number): number;
  epoll_create1(flags: number): number;
  epoll_ctl(epoll: number, operation: number, fd: number, event: Pointer): number;
  epoll_wait(epoll: number, events: Pointer, max: number, timeoutMs: number): number;
  io_uring_setup(entries: number, params: Pointer): number;
  io_uring_enter(fd: number, submit: number, minimum: number, flags: number): number;
  mmap(at: Pointer, bytes: bigint, protection: number, flags: number, fd: number, offset: bigint): Pointer;
  socketpair(domain: number, type: number, protocol: number, ends: Pointer): number;
  uv_poll_init(loop: Pointer, handle: Pointer, fd: number): number;
  uv_poll_start(handle: Pointer, events: number, callback: Pointer): number;
  uv_close(handle: Pointer, callback: Pointer): void;
  uv_handle_size(type: number): bigint;
  /** The error of the last failed call. It belongs to this thread, and nothing runs between a call and the read of this memory. */
  errno(): number;
  /** That error, or another one, as Node's own sockets have it, with `code` and `syscall`. */
  failure(call: string, errno?: number): NodeJS.ErrnoException;
  /** The address of a function, for libuv to call. */
  symbol(name: string): Pointer;
  /** The event loop of this thread. */
  readonly loop: Pointer;
  /** The address of memory. The caller keeps the memory reachable, and never resizes or transfers it. */
  addressOf(memory: ArrayBuffer | NodeJS.ArrayBufferView): Pointer;
  /** Memory that the kernel has mapped. It must stay mapped. */
  memoryAt(address: Pointer, bytes: number): ArrayBuffer;
};

/** Error numbers, the same on all processors. */
export const EINTR = 4;
export const EBADF = 9;
export const EAGAIN = 11;

const FD = "int32";
/** The same on all processors. */
const IO_URING_SETUP = 425n;
const IO_URING_ENTER = 426n;
const SIGNATURES = {
  readv: { arguments: [FD, "pointer", "int32"], return: "int32" },
  writev: { arguments: [FD, "pointer", "int32"], return: "int32" },
  shutdown: { arguments: [FD, "int32"], return: "int32" },
  close: { arguments: [FD], return: "int32" },
  fcntl: { arguments: [FD, "int32", "int32"], return: "int32" },
  setsockopt: { arguments: [FD, "int32", "int32", "pointer", "int32"], return: "int32" },
  pipe2: { arguments: ["pointer", "int32"], return: "int32" },
  splice: { arguments: [FD, "pointer", FD, "pointer", "uint64", "int32"], return: "int64" },
  eventfd: { arguments: ["int32", "int32"], return: "int32" },
  epoll_create1: { arguments: ["int32"], return: "int32" },
  epoll_ctl: { arguments: [FD, "int32", FD, "pointer"], return: "int32" },
  epoll_wait: { arguments: [FD, "pointer", "int32", "int32"], return: "int32" },
  mmap: { arguments: ["pointer", "uint64", "int32", "int32", FD, "int64"], return: "pointer" },
  socketpair: { arguments: ["int32", "int32", "int32", "pointer"], return: "int32" },
  uv_poll_init: { arguments: ["pointer", "pointer", FD], return: "int32" },
  uv_poll_start: { arguments: ["pointer", "int32", "pointer"], return: "int32" },
  uv_close: { arguments: ["pointer", "pointer"], return: "void" },
  uv_handle_size: { arguments: ["int32"], return: "uint64" },
} as const;

/** Throws if this Node, system or thread cannot do it. */
export function loadLibc(): Libc {
  if (platform !== "linux" || (arch !== "x64" && arch !== "arm64")) throw new Error(`not available on ${platform} ${arch}`);
  // libuv's handle would outlive the loop of a worker thread that is terminated, and abort the process.
  if (!isMainThread) throw new Error("not available in a worker thread");
  const ffi = loadFfi();
  if (ffi === undefined) throw new Error("this Node has no node:ffi");
  // The process itself: Node exports libuv's functions, and its C library is loaded already, whichever it is.
  const library: DynamicLibrary = new ffi.DynamicLibrary(null);
  const functions = library.getFunctions(SIGNATURES);
  const errnoAt = library.getFunction("__errno_location", { arguments: [], return: "pointer" })();
  const errno = new Int32Array(ffi.toArrayBuffer(errnoAt, 4, false));
  // The C library has no functions for these two. A library has one signature for each name.
  const systemCall = <Signature extends FunctionSignature>(signature: Signature) => new ffi.DynamicLibrary(null).getFunction("syscall", signature);
  const setup = systemCall({ arguments: ["int64", "int32", "pointer"], return: "int32" } as const);
  const enter = systemCall({ arguments: ["int64", FD, "int32", "int32", "int32", "pointer", "pointer"], return: "int32" } as const);
  return {
    ...functions,
    io_uring_setup: (entries, params) => setup(IO_URING_SETUP, entries, params),
    io_uring_enter: (fd, submit, minimum, flags) => enter(IO_URING_ENTER, fd, submit, minimum, flags, 0n, 0n),
    errno: () => errno[0] as number,
    failure: (call, code = errno[0]) => systemError(call, code),
    symbol: (name) => library.getSymbol(name),
    loop: ffi.getCurrentEventLoop(),
    addressOf: (memory) => ffi.getRawPointer(memory),
    memoryAt: (address, bytes) => ffi.toArrayBuffer(address, bytes, false),
  };
}

function systemError(syscall: string, errno = 0): NodeJS.ErrnoException {
  const code = getSystemErrorName(-errno);
  return Object.assign(new Error(`${syscall} ${code}`), { code, syscall, errno: -errno });
}

/** Suppresses the experimental warning: users cannot act on it, and berth tests the module at each start. */
function loadFfi(): typeof import("node:ffi") | undefined {
  const { emitWarning } = process;
  process.emitWarning = () => undefined;
  try {
    return process.getBuiltinModule("node:ffi");
  } finally {
    process.emitWarning = emitWarning;
  }
}
