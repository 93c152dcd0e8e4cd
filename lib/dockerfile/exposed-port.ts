/** One argument of EXPOSE: a port, or a range of them. */
export type ExposedPort = {
  /** As it stands in the file, before variables are put in. */
  written: string;
  /** Undefined for what is no port, or is known only at the build. */
  ports: { first: number; last: number; protocol: "tcp" | "udp" | "sctp" } | undefined;
};

/** `80`, `80/tcp`, `7000-7002`; of `8080:80`, which Docker passes over, the container's own part. */
export function parseExposedPort(written: string, word: string): ExposedPort {
  const match = /^(?:[\d.]*:){0,2}(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(word.slice(0, 64));
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (!match || word.length > 64 || first < 1 || last > 65_535 || last < first) return { written, ports: undefined };
  return { written, ports: { first, last, protocol: (match[3] ?? "tcp").toLowerCase() as "tcp" | "udp" | "sctp" } };
}
