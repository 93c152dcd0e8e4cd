/** The program of the container that answers, by its path in the source tree. */
export const ECHO_FILE = "cli/doctor/echo.mjs";
/** Its default port. */
export const ECHO_PORT = 8080;
