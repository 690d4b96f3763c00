/** Waiting for something while saying so now and then: a promise that may take longer than a caller should hear nothing. */

export const quiet = Symbol('quiet')

/** The promise's value, or `quiet` if it takes longer. */
export async function orQuiet<T>(promise: Promise<T>, ms: number): Promise<T | typeof quiet> {
  let timer: NodeJS.Timeout | undefined
  const waited = new Promise<typeof quiet>((resolve) => {
    timer = setTimeout(resolve, ms, quiet)
  })
  try {
    return await Promise.race([promise, waited])
  } finally {
    clearTimeout(timer)
  }
}
