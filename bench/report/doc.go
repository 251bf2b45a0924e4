// Package report turns the figures of a run into a page. [Render] depends on
// nothing but its argument, so that a page can be made anew from kept figures.
package report
