// The little of a browser's document that the page uses, as types. Texts only ever go in by
// `textContent`: evidence is hostile, and nothing of it becomes markup.

/** An element. */
export interface PageElement {
  textContent: string | null;
  value: string;
  readonly files: Iterable<PageFile> | null;
  readonly classList: { add(name: string): void; remove(name: string): void };
  className: string;
  append(...children: PageElement[]): void;
  replaceChildren(...children: PageElement[]): void;
  addEventListener(type: string, listener: (event: PageEvent) => void): void;
}

/** A chosen or dropped file. */
export interface PageFile {
  readonly name: string;
  readonly size: number;
  arrayBuffer(): Promise<ArrayBuffer>;
}

/** An event. */
export interface PageEvent {
  preventDefault(): void;
  readonly dataTransfer?: { readonly files: Iterable<PageFile> } | null;
}

interface PageDocument {
  getElementById(id: string): PageElement | null;
  createElement(name: string): PageElement;
}

const { document } = globalThis as unknown as { document: PageDocument };

/** The element with an id; the page has it. */
export function byId(id: string): PageElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

/** A new element with a text. */
export function made(name: string, text: string, className = ""): PageElement {
  const element = document.createElement(name);
  element.textContent = text;
  element.className = className;
  return element;
}
