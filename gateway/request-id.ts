/** As programs write ids: nothing that could become a second line of a log, or be too long for one. */
const SANE = /^[\w.:+/=@-]{1,128}$/;

/** The name under which a request is known in the logs of all who handle it: the client's own where it can be one. Undefined where a new one is to be made. */
export function requestIdOf(header: (name: string) => string | undefined): string | undefined {
  const given = header("x-request-id");
  return given !== undefined && SANE.test(given) ? given : undefined;
}
