/** The places of a process: how many platform calls it makes at once, first come first served. */

/** Frees the place; further calls do nothing. */
export type Leave = () => void

export interface Places {
  /** Waits for a place; undefined once `giveUp` fires. */
  enter(giveUp: AbortSignal): Promise<Leave | undefined>
  readonly taken: number
}

export function makePlaces(count: number): Places {
  const queue: Array<() => void> = []
  let taken = 0

  function leaveOnce(): Leave {
    let left = false
    return () => {
      if (left) return
      left = true
      const next = queue.shift()
      if (next === undefined) taken--
      else next()
    }
  }

  return {
    get taken() {
      return taken
    },
    enter(giveUp) {
      if (giveUp.aborted) return Promise.resolve(undefined)
      if (taken < count) {
        taken++
        return Promise.resolve(leaveOnce())
      }
      return new Promise((resolve) => {
        const admit = () => {
          giveUp.removeEventListener('abort', forget)
          resolve(leaveOnce())
        }
        const forget = () => {
          const at = queue.indexOf(admit)
          if (at >= 0) queue.splice(at, 1)
          resolve(undefined)
        }
        giveUp.addEventListener('abort', forget, { once: true })
        queue.push(admit)
      })
    },
  }
}
