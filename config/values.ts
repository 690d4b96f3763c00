/** What settings are made of: the environment's text, secrets that do not print, addresses, and the fault of a bad one. */
import { inspect } from 'node:util'

export type Env = Readonly<Record<string, string | undefined>>

/** Every fault of the environment at once; `main.ts` prints one line each and exits 1. */
export class ConfigError extends Error {
  readonly faults: readonly string[]

  constructor(faults: readonly string[]) {
    super(faults.join('\n'))
    this.name = 'ConfigError'
    this.faults = faults
  }
}

/** Text that must not be seen: prints as `***` in strings, JSON and inspection. */
export class Secret {
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  reveal(): string {
    return this.#text
  }

  get given(): boolean {
    return this.#text !== ''
  }

  toString(): string {
    return '***'
  }

  toJSON(): string {
    return '***'
  }

  [inspect.custom](): string {
    return '***'
  }
}

/** `host:port` as a listener or client needs it. Port 0 = any free one. */
export interface Address {
  host: string
  port: number
}
