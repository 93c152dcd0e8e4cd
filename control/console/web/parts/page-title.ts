import { useLayoutEffect } from "preact/hooks";
import good from "../icons/good.svg";
import moving from "../icons/moving.svg";
import bad from "../icons/bad.svg";
import plain from "../icon.svg";
import { appearanceOf, statusText } from "./display.tsx";

const ICONS = { good, moving, bad, resting: plain } as const;

/** The title and icon of the browser's tab, for a page with a status: `started · app-web · berth`. */
export function usePageTitle(name: string, status?: string): void {
  useLayoutEffect(() => {
    document.title = [status === undefined ? [] : statusText(status), name, "berth"].flat().join(" · ");
    const link = document.querySelector<HTMLLinkElement>('link[rel="icon"]');
    const icon = status === undefined ? plain : ICONS[appearanceOf(status)];
    if (link && link.getAttribute("href") !== icon) link.href = icon;
    return () => {
      document.title = "berth";
      if (link) link.href = plain;
    };
  }, [name, status]);
}
