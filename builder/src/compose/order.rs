//! In which order packages are installed: those that are needed before those
//! that need them. Where packages need each other in a circle, it is broken
//! where it hurts scripts least.
//!
//! This is the algorithm of rpm 4.18 (`lib/order.c`), step by step, so that the
//! order is the one `rpm -i` takes for the same packages given in the same
//! order. Only numbers are known here: what relations follow from is read in
//! [`super::needs`].

/// A package's index.
type Index = usize;

/// "`other` needs this one" or the other way round, and whether a script does.
type Relation = (Index, bool);

/// Packages and who needs whom.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
}

#[derive(Debug, Default, Clone)]
struct Node {
    color: u32,
    /// How many it needs that are not installed yet.
    needs: usize,
    /// How many need it.
    needed_by: usize,
    /// Who needs it, and whom it needs; the latest last, which rpm looks at first.
    successors: Vec<Relation>,
    predecessors: Vec<Relation>,
    /// The next in the queue.
    next: Option<Index>,
    component: Component,
    /// Tarjan's low link, later the distance from what a script needs.
    distance: usize,
}

/// How far the search for circles has come with a package.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Component {
    #[default]
    Unseen,
    /// On the stack, numbered as it was met.
    Open(usize),
    /// In no circle.
    Single,
    /// In this circle.
    Circle(usize),
    /// In the result.
    Collected,
}

/// Packages that need each other.
#[derive(Debug)]
struct Circle {
    /// How many relations into it are left.
    needs: usize,
    members: Vec<Index>,
}

impl Graph {
    /// Packages of these colors, with no relations yet.
    #[must_use]
    pub fn new(colors: impl IntoIterator<Item = u32>) -> Self {
        let node = |color| Node { color, ..Node::default() };
        Self { nodes: colors.into_iter().map(node).collect() }
    }

    /// Notes that `package` needs `other`, `for_script` if one of its scripts
    /// does. All needs of a package must be noted one after the other.
    pub fn need(&mut self, package: Index, other: Index, for_script: bool) {
        if package == other {
            return;
        }
        if let Some(last) = self.nodes[other].successors.last_mut()
            && last.0 == package
        {
            last.1 |= for_script;
            let known = self.nodes[package].predecessors.iter_mut().rev();
            known.filter(|known| known.0 == other).take(1).for_each(|known| known.1 |= for_script);
            return;
        }
        self.link(package, other, for_script);
    }

    /// Notes that `other` is to come after `package`, if both are installed.
    pub fn supplement(&mut self, package: Index, other: Index) {
        // Not if it has just been noted the other way round.
        let needed = self.nodes[package].predecessors.last().is_some_and(|last| last.0 == other);
        if package != other && !needed {
            self.link(other, package, false);
        }
    }

    fn link(&mut self, package: Index, other: Index, for_script: bool) {
        self.nodes[package].needs += 1;
        self.nodes[package].predecessors.push((other, for_script));
        self.nodes[other].needed_by += 1;
        self.nodes[other].successors.push((package, for_script));
    }

    /// All packages in the order they are installed. Of packages that could
    /// come next, the one that more others need is taken, then the one of the
    /// preferred color, then the one with the higher index.
    #[must_use]
    pub fn order(mut self, preferred_color: u32) -> Vec<Index> {
        let circles = self.circles();
        let mut collect =
            Collect { nodes: self.nodes, circles, preferred_color, order: Vec::new() };
        collect.run();
        collect.order
    }

    /// Tarjan's algorithm, without recursion: packages come from outside, and a
    /// chain of them may be longer than the stack is deep.
    fn circles(&mut self) -> Vec<Circle> {
        let (mut found, mut stack, mut met) = (Vec::new(), Vec::new(), 0);
        for start in 0..self.nodes.len() {
            if self.nodes[start].component != Component::Unseen {
                continue;
            }
            let mut path: Vec<(Index, usize)> = Vec::new();
            self.open(start, &mut met, &mut stack);
            path.push((start, 0));
            while let Some((at, step)) = path.last_mut() {
                let (here, count) = (*at, self.nodes[*at].successors.len());
                if *step < count {
                    let (next, _) = self.nodes[here].successors[count - 1 - *step];
                    *step += 1;
                    match self.nodes[next].component {
                        Component::Unseen => {
                            self.open(next, &mut met, &mut stack);
                            path.push((next, 0));
                        }
                        Component::Open(number) => self.lower(here, number),
                        _ => {}
                    }
                    continue;
                }
                path.pop();
                if self.nodes[here].component == Component::Open(self.nodes[here].distance) {
                    self.close(here, &mut stack, &mut found);
                }
                if let Some((parent, _)) = path.last() {
                    let low = self.nodes[here].distance;
                    // A closed circle's number is no longer of interest.
                    if matches!(self.nodes[here].component, Component::Open(_)) {
                        self.lower(*parent, low);
                    }
                }
            }
        }
        found
    }

    fn open(&mut self, node: Index, met: &mut usize, stack: &mut Vec<Index>) {
        self.nodes[node].component = Component::Open(*met);
        self.nodes[node].distance = *met;
        *met += 1;
        stack.push(node);
    }

    fn lower(&mut self, node: Index, number: usize) {
        let low = &mut self.nodes[node].distance;
        *low = (*low).min(number);
    }

    /// Takes a circle, or a single package, from the stack.
    fn close(&mut self, root: Index, stack: &mut Vec<Index>, found: &mut Vec<Circle>) {
        let from = stack.iter().rposition(|node| *node == root).unwrap_or(0);
        let members = stack.split_off(from);
        if members.len() == 1 {
            self.nodes[root].component = Component::Single;
            return;
        }
        let number = found.len();
        members.iter().for_each(|node| self.nodes[*node].component = Component::Circle(number));
        let inside = |node: &Index| {
            let inner = self.nodes[*node].successors.iter().filter(|(other, _)| {
                other != node && self.nodes[*other].component == Component::Circle(number)
            });
            inner.count()
        };
        let all: usize = members.iter().map(|node| self.nodes[*node].needs).sum();
        let needs = all - members.iter().map(inside).sum::<usize>();
        found.push(Circle { needs, members });
    }
}

/// Taking packages out one after the other.
struct Collect {
    nodes: Vec<Node>,
    circles: Vec<Circle>,
    preferred_color: u32,
    order: Vec<Index>,
}

impl Collect {
    fn run(&mut self) {
        let mut queue = None;
        for node in 0..self.nodes.len() {
            if self.nodes[node].needs == 0 {
                self.enqueue(node, &mut queue);
            }
        }
        for circle in 0..self.circles.len() {
            if self.circles[circle].needs == 0 {
                self.enqueue(self.circles[circle].members[0], &mut queue);
            }
        }
        while let Some(node) = queue {
            match self.nodes[node].component {
                Component::Circle(circle) => self.collect_circle(node, circle),
                _ => self.collect(node, None),
            }
            queue = self.nodes[node].next;
        }
    }

    /// Puts a package into the queue before the first that fewer or as many need.
    fn enqueue(&mut self, node: Index, head: &mut Option<Index>) {
        let color = self.nodes[node].color;
        let to_tail = color != 0 && color != self.preferred_color;
        let (mut before, mut at) = (None, *head);
        while let Some(other) = at {
            let passed = to_tail && color != self.nodes[other].color;
            if !passed && self.nodes[other].needed_by <= self.nodes[node].needed_by {
                break;
            }
            (before, at) = (Some(other), self.nodes[other].next);
        }
        self.nodes[node].next = at;
        match before {
            Some(before) => self.nodes[before].next = Some(node),
            None => *head = Some(node),
        }
    }

    /// As [`Self::enqueue`], into the queue behind `node`.
    fn enqueue_after(&mut self, node: Index, new: Index) {
        let mut head = self.nodes[node].next;
        self.enqueue(new, &mut head);
        self.nodes[node].next = head;
    }

    /// Takes a package, and queues those that need nothing more. `outer` is the
    /// queue outside of the circle that is being taken.
    fn collect(&mut self, node: Index, mut outer: Option<&mut Option<Index>>) {
        self.order.push(node);
        let own = self.nodes[node].component;
        for at in (0..self.nodes[node].successors.len()).rev() {
            let (other, _) = self.nodes[node].successors[at];
            let component = self.nodes[other].component;
            if component == Component::Collected || other == node {
                continue;
            }
            self.nodes[other].needs -= 1;
            if self.nodes[other].needs == 0 {
                match outer.as_deref_mut() {
                    Some(outer) if own != component => self.enqueue(other, outer),
                    _ => self.enqueue_after(node, other),
                }
            }
            if let Component::Circle(circle) = component
                && component != own
            {
                self.circles[circle].needs -= 1;
                if self.circles[circle].needs == 0 {
                    match outer.as_deref_mut() {
                        Some(outer) => self.enqueue(other, outer),
                        None => self.enqueue_after(node, other),
                    }
                }
            }
        }
        self.nodes[node].component = Component::Collected;
    }

    /// Takes a whole circle, beginning where what scripts need is farthest.
    fn collect_circle(&mut self, first: Index, circle: usize) {
        let mut outer = self.nodes[first].next.take();
        self.measure(circle);
        loop {
            let members = &self.circles[circle].members;
            let left =
                members.iter().filter(|node| self.nodes[**node].component != Component::Collected);
            // The last of several, as rpm takes it.
            let Some(best) = left.copied().max_by_key(|node| self.nodes[*node].distance) else {
                break;
            };
            let mut queue = None;
            self.enqueue(best, &mut queue);
            while let Some(node) = queue {
                self.collect(node, Some(&mut outer));
                queue = self.nodes[node].next;
            }
        }
        self.nodes[first].next = outer;
    }

    /// How far each member is from one whose script needs another member.
    fn measure(&mut self, circle: usize) {
        let members = self.circles[circle].members.clone();
        let inside =
            |nodes: &[Node], node: Index| nodes[node].component == Component::Circle(circle);
        let mut queue = std::collections::VecDeque::new();
        for member in &members {
            let node = &self.nodes[*member];
            let for_script = |(other, script): &Relation| *script && inside(&self.nodes, *other);
            let near = node.predecessors.iter().any(for_script);
            self.nodes[*member].distance = if near { 0 } else { usize::MAX };
            if near {
                queue.push_back(*member);
            }
        }
        while let Some(node) = queue.pop_front() {
            let distance = self.nodes[node].distance.saturating_add(1);
            for at in (0..self.nodes[node].predecessors.len()).rev() {
                let (other, _) = self.nodes[node].predecessors[at];
                if inside(&self.nodes, other) && self.nodes[other].distance > distance {
                    self.nodes[other].distance = distance;
                    queue.push_back(other);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Graph;

    fn order(count: usize, needs: &[(usize, usize, bool)]) -> Vec<usize> {
        let mut graph = Graph::new(vec![0; count]);
        needs.iter().for_each(|(package, other, script)| graph.need(*package, *other, *script));
        graph.order(2)
    }

    #[test]
    fn what_is_needed_comes_first_and_the_most_needed_before_others() {
        assert_eq!(order(3, &[(0, 1, false), (1, 2, false)]), [2, 1, 0]);
        assert_eq!(order(4, &[(0, 1, false), (2, 1, false), (2, 3, false)]), [1, 3, 2, 0]);
        assert_eq!(order(3, &[]), [2, 1, 0]);
    }

    #[test]
    fn a_circle_is_broken_where_no_script_needs_it() {
        // 0 needs 1 for a script, 1 needs 0 only to run: 1 comes first.
        assert_eq!(order(2, &[(0, 1, true), (1, 0, false)]), [1, 0]);
        assert_eq!(order(2, &[(0, 1, false), (1, 0, true)]), [0, 1]);
        // 3 needs the circle, the circle needs 2.
        let needs = [(0, 1, true), (0, 2, false), (1, 0, false), (3, 0, false)];
        assert_eq!(order(4, &needs), [2, 1, 0, 3]);
    }

    #[test]
    fn every_package_comes_once_whatever_the_relations() {
        let mut state = 1_u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        for _ in 0..200 {
            let count = 1 + random(40);
            let mut graph = Graph::new((0..4).cycle().take(count));
            for package in 0..count {
                for _ in 0..random(4) {
                    graph.need(package, random(count), random(3) == 0);
                }
                if random(5) == 0 {
                    graph.supplement(package, random(count));
                }
            }
            let mut order = graph.order(2);
            order.sort_unstable();
            assert_eq!(order, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let count = 100_000;
        let mut graph = Graph::new(vec![0; count]);
        (1..count).for_each(|package| graph.need(package, package - 1, false));
        assert_eq!(graph.order(0), (0..count).collect::<Vec<_>>());
    }
}
