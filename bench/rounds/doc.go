// Package rounds takes the same measurements of several subjects in turn, round by
// round, and compares them within each round: what slows one round down, on
// a machine that others use too, slows every subject in it.
//
// All of it but [Run] is pure arithmetic.
package rounds
