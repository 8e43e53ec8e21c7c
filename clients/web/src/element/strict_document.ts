// A document whose <style> elements are constructed style sheets: a policy of `style-src 'self'` refuses the others.

/** Return a stand-in of `document` for xterm.js, whose styles are adopted by `root` instead of parsed inline. */
export function strictDocument(document: Document, root: ShadowRoot): Document {
  return new Proxy(document, {
    get(target, name) {
      if (name === "createElement") {
        return (tag: string, options?: ElementCreationOptions) =>
          tag.toLowerCase() === "style" ? styleElement(target, root) : target.createElement(tag, options);
      }
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
    set: (target, name, value) => Reflect.set(target, name, value, target),
  });
}

/** An element without content whose text goes into a sheet of the root, for as long as the element is not removed. */
function styleElement(document: Document, root: ShadowRoot): HTMLElement {
  const sheet = new CSSStyleSheet();
  const element = document.createElement("template");
  let text = "";
  Object.defineProperty(element, "textContent", {
    get: () => text,
    set(value: string) {
      text = value;
      sheet.replaceSync(value);
      if (!root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets.push(sheet);
    },
  });
  element.remove = () => {
    root.adoptedStyleSheets = root.adoptedStyleSheets.filter((adopted) => adopted !== sheet);
    HTMLElement.prototype.remove.call(element);
  };
  return element;
}
