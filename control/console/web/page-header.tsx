import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { AdminLinks, adminPageOf } from "./administration/administration.tsx";
import type { User } from "./entities.ts";
import icon from "./icon.svg";
import { type ConsolePath, linkTo } from "./location.ts";
import { Action } from "./parts/controls.tsx";

type PageHeaderProps = {
  sections: readonly { name: string; title: string }[];
  /** Whether the user has a page here. */
  hasProfile: boolean;
  /** The name of the section that is shown. */
  current: string | undefined;
  path: ConsolePath;
  user: User;
  onSignOut(): Promise<void>;
};

/** The sections in a row. On a narrow screen a button opens them as a menu, with the pages of administrators. */
export function PageHeader({ sections, hasProfile, current, path, user, onSignOut }: PageHeaderProps) {
  const { isOpen, button, menu, toggle } = useMenu(path.join("/"));
  const links = sections.map(({ name, title }) => (
    <a key={name} href={linkTo(name)} aria-current={current === name ? "page" : undefined}>
      {title}
    </a>
  ));
  return (
    <header>
      <a class="brand" href={linkTo()}>
        <img src={icon} alt="" width="24" height="24" /> berth
      </a>
      <button ref={button} type="button" class="menu-button" aria-expanded={isOpen} aria-controls="sections" onClick={toggle}>
        Menu
      </button>
      <div id="sections" ref={menu} class={isOpen ? "sections open" : "sections"}>
        <nav aria-label="Sections">
          {links}
          {sections.some(({ name }) => name === "administration") ? (
            <div class="narrow-only">
              <AdminLinks current={current === "administration" ? adminPageOf(path.slice(1)) : undefined} />
            </div>
          ) : null}
        </nav>
        {hasProfile ? (
          <a class="who" href={linkTo("profile")} title={user.login} aria-current={current === "profile" ? "page" : undefined}>
            {user.login}
          </a>
        ) : (
          <span class="who" title={user.login}>
            {user.login}
          </span>
        )}
        <Action act={onSignOut}>Sign out</Action>
      </div>
    </header>
  );
}

/** A list that a button opens. Escape returns to the button; a choice closes the list and continues in the page; focus or a click elsewhere closes it. */
function useMenu(page: string) {
  const [isOpen, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const menu = useRef<HTMLDivElement>(null);
  const isShown = useRef(false);
  isShown.current = isOpen;

  useLayoutEffect(() => {
    if (!isShown.current) return;
    setOpen(false);
    // The link that was followed is hidden now.
    document.getElementById("main")?.focus();
  }, [page]);
  useLayoutEffect(() => {
    if (!isOpen) return undefined;
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      setOpen(false);
      button.current?.focus();
    };
    const onElsewhere = ({ target }: Event) => {
      if (!menu.current?.contains(target as Node) && !button.current?.contains(target as Node)) setOpen(false);
    };
    addEventListener("keydown", onKey);
    addEventListener("click", onElsewhere);
    addEventListener("focusin", onElsewhere);
    return () => {
      removeEventListener("keydown", onKey);
      removeEventListener("click", onElsewhere);
      removeEventListener("focusin", onElsewhere);
    };
  }, [isOpen]);
  return { isOpen, button, menu, toggle: () => setOpen((before) => !before) };
}
