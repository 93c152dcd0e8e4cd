/**
 * The messages of a shell, for server, console and command line. A binary message is one byte that names the stream, and bytes of it. A text message is JSON:
 * `ShellRequest` to the server, `ShellReport` from it.
 */
export const SHELL_STREAMS = { stdin: 0, stdout: 1, stderr: 2 } as const;

/**
 * `resize`: the terminal's new size. `stdin`: the input has ended. `shown`: so many more bytes of output are processed, for a client with `shown=true`:
 * a browser cannot read a WebSocket slowly.
 */
export type ShellRequest = { resize: { columns: number; rows: number } } | { stdin: "ended" } | { shown: number };

/**
 * The last message before the server closes the WebSocket. `exitCode`: the command has ended; null if its code is unknown. `reason`: why the shell was ended
 * before, or why nothing is known of its end.
 */
export type ShellReport = { exitCode: number | null } | { reason: string };

/** Of one message, with its first byte. */
export const LONGEST_SHELL_MESSAGE = 65_536;
