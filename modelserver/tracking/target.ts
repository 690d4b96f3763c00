/** Where tracking records go: what every kind of stream implements. */

/** A throw or a rejection of `push` is counted by who pushes and reaches no request. */
export interface StreamTarget {
  push(records: unknown[]): unknown
  close?(): unknown
}
