/** The headers of a request, whatever carried it here. */

/** Header names are lower-case. */
export type EventHeaders = Readonly<Record<string, string | string[] | undefined>>

/** One value of a header; of several the first. */
export function header(headers: EventHeaders, name: string): string | undefined {
  const value = headers[name]
  return typeof value === 'object' ? value[0] : value
}
