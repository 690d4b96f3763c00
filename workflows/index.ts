/** Every workflow of the bundle. */
export { flight } from './flight.ts'
export { guard } from './guard.ts'
export { retention } from './retention.ts'
