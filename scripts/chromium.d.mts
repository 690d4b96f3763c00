/** Types of chromium.mjs. */

/** `PERDURE_CHROMIUM`, else the first Chromium or Chrome on PATH; undefined when there is none. */
export declare function chromiumPath(): string | undefined
/** Installs Chromium where that is allowed; resolves with its path. */
export declare function provide(): Promise<string>
