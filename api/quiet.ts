/** A promise that may take longer than anybody should hear nothing: whoever waits can say so, ask elsewhere or give up. */

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
